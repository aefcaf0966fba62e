"""Holes, cut tails, lost bells and lost pages: how soon a client that listens finds each."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.bench.connections import Connection, direct
from tests.chaos.report import Fact, Report
from tests.eventually import eventually
from tests.flow.copies import client_of, copy_of, server_rows
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from worker.gateway.pms import MustSnapshot, Page, PmsRemote
from worker.sync.client import PmsClient

BOUND = 5.0
"""Seconds."""
PRICE = "update public.products set price = price + 1 where id = %s returning price"
READ_PRICE = "select price from public.products where id = %s"
DISPATCH = "select worker.dispatch_outbox()"
LOSE = """
delete from public.events e using (
  select v.tenant_id, v.seq from public.events v where v.tenant_id = %s order by v.seq desc offset %s limit 1
) lost where (e.tenant_id, e.seq) = (lost.tenant_id, lost.seq)
"""
MUTE = "update private.ring_budget set tokens = 0, per_second = 1, refilled_at = clock_timestamp()"
UNMUTE = "update private.ring_budget set per_second = 20"
FORGET_TO_RING = "update private.tenant_log set unrung_since = null"


@dataclass
class _Way:
    """A client's way to PostgREST, on which a page can be lost."""

    lose: bool = False

    def __call__(self, remote: PmsRemote) -> PmsRemote:
        original = remote.pull

        async def pull(cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
            answer = await original(cursor, limit=limit, wait=wait)
            if self.lose and isinstance(answer, Page) and answer.changes:
                self.lose = False
                return await original(answer.cursor.text, limit=limit, wait=wait)
            return answer

        remote.pull = pull  # type: ignore[method-assign]
        return remote


@dataclass
class _Holes:
    """Each changes two products, and takes care that the client is not simply told."""

    admin: Connection
    shop: Shop
    way: _Way

    async def hole(self) -> None:
        """The first of the two events is gone."""
        async with self.admin.transaction():
            await self._change()
            await self.admin.execute(DISPATCH)
            await self.admin.execute(LOSE, (self.shop.tenant.id, 1))

    async def cut_tail(self) -> None:
        """The last event is gone, and no bell rings."""
        async with self.admin.transaction():
            await self._quietly()
            await self.admin.execute(LOSE, (self.shop.tenant.id, 0))

    async def lost_bell(self) -> None:
        """All is there, and no bell rings."""
        async with self.admin.transaction():
            await self._quietly()

    async def lost_page(self) -> None:
        """The answer that has the two is lost, and what is behind them comes instead."""
        self.way.lose = True
        async with self.admin.transaction():
            await self._change()

    async def _quietly(self) -> None:
        await self.admin.execute(MUTE)
        await self._change()
        await self.admin.execute(DISPATCH)
        await self.admin.execute(UNMUTE)
        await self.admin.execute(FORGET_TO_RING)

    async def _change(self) -> None:
        for product in self.shop.products[:2]:
            await self.admin.execute(PRICE, (product,))


async def sync_holes(scene: Scene, *, rounds: int = 10, bound: float = BOUND) -> Report:
    """Ten of each kind: each is found, and mended, within 5 s."""
    started = time.monotonic()
    shop, way = await scene.shop(products=5, endpoints=0), _Way()
    took: dict[str, list[float]] = {}
    async with (
        scene.worker() as worker,
        direct(scene.platform.admin_db_url) as admin,
        client_of(scene.platform.addresses, shop, "till", through=way) as till,
        till.running(),
    ):
        await worker.until_realtime("live", 30)
        await eventually(lambda: till.live and till.complete, 30, what="the client listens")
        holes = _Holes(admin, shop, way)
        kinds: list[Callable[[], Awaitable[None]]] = [
            holes.hole, holes.cut_tail, holes.lost_bell, holes.lost_page,
        ]  # fmt: skip
        for kind in kinds * rounds:
            await kind()
            began = time.monotonic()
            expected = {str(each): await _price(admin, each) for each in shop.products[:2]}
            found = partial(_has_prices, till, expected)
            await eventually(found, bound * 4, what=f"{kind.__name__} is found", interval=0.005)
            took.setdefault(kind.__name__, []).append(time.monotonic() - began)
            # anywhere in the client's silence
            await asyncio.sleep(0.37 * (len(took[kind.__name__]) % 5))
        equal = copy_of(till) == await server_rows(shop.rest, shop)
        snapshots = till.snapshots
    slow = [f"{kind} took {max(each):.1f} s" for kind, each in took.items() if max(each) > bound]
    faults = slow if equal else [*slow, "the copy is not what the server has"]
    facts: dict[str, Fact] = {f"{kind}_max_s": round(max(each), 2) for kind, each in took.items()}
    facts["snapshots"] = snapshots
    injected = sum(map(len, took.values()))
    return Report(
        "sync_holes", time.monotonic() - started, Judgement(injected, injected, injected, 0, 0), facts, faults
    )


def _has_prices(client: PmsClient, prices: Mapping[str, object]) -> bool:
    return all((client.row("product", key) or {})["price"] == price for key, price in prices.items())


async def _price(admin: Connection, product: uuid.UUID) -> object:
    row = await (await admin.execute(READ_PRICE, (product,))).fetchone()
    assert row is not None
    return row[0]
