"""What machine clients do: reads of lists, singles and stock, writes, and attempts at what is not theirs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pyreqwest.client import Client
from pyreqwest.exceptions import PyreqwestError

from tests.chaos.edge_judge import Board, Judge, Thing
from tests.chaos.edge_market import PRODUCTS, Answer, Caller, Market, line, product_body, send

ASKING = 0.4
"""Share of the reads that ask for the last write that anyone of the tenant told of."""
HOT = 2
"""Products that four fifths of the readers of one want."""
LISTS = (
    "/pms/products?limit=50&fields=id,version",
    "/pms/products?limit=50&sort=-price&fields=id,version,name",
)
STOCK = "/pms/inventory/status?limit=50"
PRODUCTS_READ = frozenset({"products.read"})
STOCK_READ = frozenset({"inventory.read", "products.read"})


@dataclass
class Clients:
    """All of them, at every adapter."""

    client: Client
    adapters: Sequence[str]
    markets: Sequence[Market]
    boards: dict[str, Board]
    """By slug."""
    chance: random.Random
    writing: int = 2
    """How many of 100 operations are writes of either kind."""
    judge: Judge = field(default_factory=Judge)
    done: int = 0
    writes: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Writes that stand, and of which the adapter could not tell the place."""
    refusals: int = 0
    taken: list[float] = field(default_factory=list)

    async def act(self, turns: Iterator[int]) -> None:
        deeds: list[Callable[[Caller, int], Awaitable[None]]] = [
            self._single, self._list, self._stock, self._foreign, self._put, self._adjust,
        ]  # fmt: skip
        for turn in turns:
            market = self.chance.choice(self.markets)
            [deed] = self.chance.choices(deeds, (42, 24, 24, 6, self.writing, self.writing))
            await deed(self.chance.choice(market.callers), turn)
            self.done += 1

    async def _single(self, caller: Caller, _: int) -> None:
        some = caller.market.products[: PRODUCTS if self.chance.random() < 0.2 else HOT]
        target = f"/pms/products/{self.chance.choice(some)}?fields=id,version"
        await self._read(caller, target, PRODUCTS_READ, "product", 0)

    async def _list(self, caller: Caller, _: int) -> None:
        await self._read(caller, self.chance.choice(LISTS), PRODUCTS_READ, "product", PRODUCTS)

    async def _stock(self, caller: Caller, _: int) -> None:
        await self._read(caller, STOCK, STOCK_READ, "level", PRODUCTS)

    async def _read(self, caller: Caller, target: str, rights: frozenset[str], kind: str, rows: int) -> None:
        board = self.boards[caller.market.tenant.slug]
        asked = board.ask(least=self.chance.random() < ASKING)
        answer = await self._send(caller, "GET", target, rights, headers=board.min_seq(asked))
        if answer is None:
            return
        self.judge.sources[answer.headers["x-cache"]] += 1
        shown = answer.body["data"] if rows else [answer.body]
        if len(shown) != max(rows, 1):
            self.judge.fault("of another size", f"{len(shown)} rows at {target}")
        name = "id" if kind == "product" else "product_id"
        self.judge.weigh(board, asked, [((kind, row[name]), row["version"]) for row in shown], answer.seq)

    async def _foreign(self, caller: Caller, turn: int) -> None:
        """Another tenant's product: there is none, whatever the cache holds of it."""
        other = self.chance.choice([market for market in self.markets if market is not caller.market])
        product = self.chance.choice(other.products)
        if turn % 2:
            await self._send(
                caller, "GET", f"/pms/products/{product}?fields=id,version", PRODUCTS_READ, right_is=404
            )
            return
        answer = await self._send(caller, "GET", f"/pms/inventory/status?product_id={product}", STOCK_READ)
        if answer is not None and answer.body["data"]:
            self.judge.fault("of another tenant", f"stock of {product}")

    async def _put(self, caller: Caller, turn: int) -> None:
        number = self.chance.randrange(PRODUCTS)
        product = caller.market.products[number]
        body = product_body(caller.market.tenant.slug, number, turn)
        answer = await self._send(
            caller, "PUT", f"/pms/products/{product}", frozenset({"products.write"}), body
        )
        if answer is not None:
            self._told(caller, ("product", product), answer, answer.body["version"])

    async def _adjust(self, caller: Caller, _: int) -> None:
        product = self.chance.choice(caller.market.products)
        body = {"lines": [line(caller.market, product, self.chance.choice((-1, 1, 2)))]}
        answer = await self._send(
            caller, "POST", "/pms/inventory/adjust", frozenset({"inventory.write"}), body
        )
        if answer is not None:
            self._told(caller, ("level", product), answer, answer.body["levels"][0]["version"])

    def _told(self, caller: Caller, thing: Thing, answer: Answer, version: int) -> None:
        self.writes += 1
        if answer.seq is None:
            self.unanswered["without X-Seq"] += 1
            return
        self.boards[caller.market.tenant.slug].write(thing, answer.seq, version)

    async def _send(
        self,
        caller: Caller,
        method: str,
        target: str,
        rights: frozenset[str],
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        right_is: int = 200,
    ) -> Answer | None:
        """None for what had to be refused, and was; any other answer than the right one is a fault."""
        wanted = right_is if rights <= caller.may else 403
        adapter = self.chance.choice(self.adapters)
        started = time.perf_counter()
        try:
            answer = await send(self.client, adapter, caller, method, target, body, headers)
        except PyreqwestError as error:
            self.judge.fault("an error", f"{method} {target}: {error!r}")
            return None
        self.taken.append(time.perf_counter() - started)
        if answer.status != wanted:
            said = f"{answer.status} for {wanted}: {caller.role} {method} {target} {answer.text[:300]}"
            self.judge.fault("an error" if answer.status >= 400 else "let in", said)
            return None
        self.refusals += wanted != 200
        return answer if wanted == 200 else None
