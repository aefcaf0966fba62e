"""The model that the interleavings run against, held to the database: the same history here and there."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, rpc, value
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_location, add_product, adjust, found_company, receive, stock_line
from tests.sql.dispatching import drain
from tests.sql.syncing import push
from tests.sync.model import Key, Server, Wall
from worker.gateway.changes import Batch
from worker.sync.merging import Write, policies_of, write_of
from worker.sync.stamp import Stamp

STEPS: Final = 45
CLIENTS: Final = ("ann", "bob")
TEXTS: Final = ("name", "description", "attributes.brand", "attributes.color")
POLICIES: Final = {"attributes.brand": "server_wins", "attributes.color": "client_wins"}
COLUMNS: Final = ("name", "description", "price", "attributes", "on_hand", "version")
WRITE: LiteralString = (
    "update public.products p set name = n.name, description = n.description, price = n.price,"
    " attributes = n.attributes from jsonb_populate_record(null::public.products, %s) n where p.id = %s"
)


@dataclass
class Twins:
    """One history, played on the database and on the model."""

    db: Connection
    company: Company
    chance: random.Random
    wall: Wall = field(default_factory=Wall)
    products: list[str] = field(default_factory=list)
    levels: dict[str, tuple[uuid.UUID, uuid.UUID]] = field(default_factory=dict)
    number: int = 0
    in_hand: tuple[list[Write], list[Write]] | None = None
    attempt: str | None = None

    async def begin(self) -> None:
        self.model = Server(self.wall)
        await stop_clock(self.db)
        await self.tick(0)
        for name, policy in POLICIES.items():
            await self.db.execute(
                "insert into public.sync_policies (tenant_id, entity, field, policy)"
                " values (%s, 'product', %s, %s)",
                (self.company.tenant_id, name, policy),
            )
        for n in range(2):
            product = uuid.uuid4()
            await self.db.execute(
                "insert into public.products (id, tenant_id, sku, name) values (%s, %s, %s, 'Lamp')",
                (product, self.company.tenant_id, f"SKU-{n}"),
            )
            self.products.append(str(product))
            blank = {"name": "Lamp", "description": "", "price": 0, "attributes": {}, "deleted_at": None}
            self.model.add("product", str(product), blank)
        # one of its own, for what is in stock cannot be deleted
        place, stocked = await add_location(self.db, self.company), await add_product(self.db, self.company)
        await receive(self.db, self.company, [stock_line(stocked, place, 100)])
        level = str(await value(self.db, "select id from public.stock_levels"))
        self.levels[level] = (stocked, place)
        self.model.add("stock_level", level, {"on_hand": 0})
        self.model.update(("stock_level", level), {"on_hand": 100})

    # -- steps -----------------------------------------------------------------------------------------------

    async def step(self) -> None:
        steps = [self.push] * 5 + [self.work] * 4 + [self.write] * 2 + [self.move, self.resolve]
        await self.chance.choice(steps)()
        await self.tick(self.chance.choice((0, 1, 700)))

    async def tick(self, millis: int) -> None:
        self.wall.millis += millis
        await self.db.execute("update private.test_clock set at = %s", (self.wall.now(),))

    async def push(self) -> None:
        client = self.chance.choice(CLIENTS)
        change = self._change(client)
        await push(self.db, self.company, change, client=client)
        self.model.push(client, [change])

    def _change(self, client: str) -> dict[str, Any]:
        dice = self.chance.random()
        operation, entity, entity_id = "update", "product", self.chance.choice(self.products)
        edit: dict[str, Any]
        if dice < 0.1:
            operation, edit = "delete", {}
        elif dice < 0.15:
            operation, entity_id, edit = "insert", str(uuid.uuid4()), {"name": {"set": self._text()}}
            edit["sku"] = {"set": entity_id}
            self.products.append(entity_id)
        elif dice < 0.3:
            entity, entity_id = "stock_level", next(iter(self.levels))
            edit = {"on_hand": {"delta": self.chance.choice((-2, 3))}}
        elif dice < 0.45:
            edit = {"attributes.tags": self._tags()}
        else:
            edit = {name: {"set": self._text()} for name in self.chance.sample(TEXTS, 2)}
            if dice < 0.6:
                edit["price"] = {"set": self.chance.randrange(1, 5)}
        versions = len(self.model.rows.get((entity, entity_id), [])) or 1
        wall = Wall(self.wall, self.chance.choice((-2000, 0, 2000, 90_000)))
        return {
            "id": str(uuid.uuid4()),
            "entity": entity,
            "entity_id": entity_id,
            "operation": operation,
            "base_version": None if operation == "insert" else self.chance.randrange(1, versions + 1),
            "edit": edit,
            "stamp": str(Stamp(int(wall.now().timestamp() * 1000), self.chance.randrange(3), client)),
        }

    def _tags(self) -> dict[str, list[str]]:
        tags = self.chance.sample("abcd", 2)
        return self.chance.choice(({"add": tags}, {"remove": tags}, {"add": tags[:1], "remove": tags[1:]}))

    async def write(self) -> None:
        """By somebody who is no client, in SQL."""
        key = ("product", self.chance.choice(self.products))
        row = self.model.row(key)
        if row is None or row["deleted_at"] is not None:
            return
        self.model.update(key, {self.chance.choice(TEXTS): self._text()})
        await self.db.execute(WRITE, (json.dumps(self.model.row(key)), key[1]))

    async def move(self) -> None:
        [(level, (product, place))] = self.levels.items()
        by, key = self.chance.choice((-1, 4)), ("stock_level", level)
        await adjust(self.db, self.company, [stock_line(product, place, by)])
        self.model.update(key, {"on_hand": (self.model.row(key) or {})["on_hand"] + by})

    async def work(self) -> None:
        """Reads and merges; and the next time, perhaps after others have written, writes."""
        if self.in_hand is None:
            batch = Batch.model_validate(
                await rpc(self.db, "read_changes", p_tenant_id=self.company.tenant_id)
            )
            told = [write_of(it, policies_of(batch.policies[it.entity]), batch.now) for it in batch.changes]
            self.in_hand = told, self.model.merged()
            assert [it["change_id"] for it in told] == [it["change_id"] for it in self.in_hand[1]]
            for there, here in zip(*self.in_hand, strict=True):
                assert in_order(there) == in_order(here)
            return
        writes, twins = self.in_hand
        self.in_hand = None
        if not writes:
            return
        async with acting_as(self.db, self.company.owner):
            answer = await value(
                self.db, "select public.apply_changes(%s, %s)", await self._attempt(), json.dumps(writes)
            )
        assert [each["outcome"] for each in answer] == self.model.apply(twins)

    async def _attempt(self) -> str:
        if self.attempt is None:
            await self.db.execute("reset role")
            claim = await rpc(
                self.db, "claim_jobs", p_worker="w", p_kinds=["sync.work"], p_limit=1, p_lease_seconds=3600
            )
            self.attempt = claim["jobs"][0]["attempt_id"]
            await self.db.execute("set local role authenticated")
        return self.attempt

    async def resolve(self) -> None:
        open_ones = [it for it in self.model.conflicts if it.winner is None]
        if not open_ones:
            return
        conflict, choice = self.chance.choice(open_ones), self.chance.choice(("ours", "theirs"))
        there = await value(
            self.db,
            "select id from public.sync_conflicts where change_id = %s and field = %s",
            conflict.change_id,
            conflict.field,
        )
        async with acting_as(self.db, self.company.owner):
            await call(
                self.db,
                "public",
                "resolve_conflict",
                p_tenant_id=self.company.tenant_id,
                p_conflict_id=there,
                p_choice=choice,
            )
        self.model.resolve(conflict, choice)

    def _text(self) -> str:
        self.number += 1
        return f"text {self.number if self.chance.random() < 0.8 else 0}"

    # -- comparison ------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        assert await self._rows() == {key: shown(it[-1].state) for key, it in self.model.rows.items()}
        query: LiteralString = "select id::text, status, version from public.sync_changes"
        assert {key: tuple(rest) for key, *rest in await rows(self.db, query)} == {
            key: (it.status, it.version) for key, it in self.model.changes.items()
        }
        query = "select change_id::text, field, policy, base, ours, theirs, winner from public.sync_conflicts"
        assert sorted(map(repr, map(plain, await rows(self.db, query)))) == sorted(
            repr(plain((it.change_id, it.field, it.policy, it.base, it.ours, it.theirs, it.winner)))
            for it in self.model.conflicts
        )
        await drain(self.db)
        self.model.dispatch()
        query = (
            "select entity_id::text, version from public.events"
            " where entity in ('product', 'stock_level') order by seq"
        )
        there = by_row(await rows(self.db, query))
        here = by_row([(it.entity_id, it.version) for it in self.model.log])
        assert here == {key: there[key] for key in here}

    async def _rows(self) -> dict[Key, dict[str, Any]]:
        query: LiteralString = (
            "select 'product', id::text, to_jsonb(p) from public.products p where sku <> 'SHIRT'"
            " union all select 'stock_level', id::text, to_jsonb(s) from public.stock_levels s"
        )
        return {(entity, key): shown(row) for entity, key, row in await rows(self.db, query)}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = plain({name: row.get(name) for name in COLUMNS if name in row})
    return {**known, "deleted": row.get("deleted_at") is not None}


def plain(it: Any) -> Any:
    """Numbers as floats, moments and what a fault is called in words as nothing but there."""
    match it:
        case dict():
            return {name: plain(it[name]) for name in sorted(it) if name not in ("detail", "conflict_id")}
        case list() | tuple():
            return [plain(each) for each in it]
        case bool() | None:
            return it
        case int() | float():
            return float(it)
        case str() if it[:2] == "20" and "T" in it:
            return "a moment"
        case _:
            return it


def in_order(write: Write) -> Any:
    """The database keeps the fields of an edit in an order of its own."""
    decisions = sorted(write.get("decisions", []), key=lambda it: str(it["field"]))
    return plain({**write, "decisions": decisions})


def by_row(log: list[tuple[Any, ...]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entity_id, version in log:
        found.setdefault(entity_id, []).append(version)
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_database_and_model_make_the_same_of_one_history(db: Connection, seed: int) -> None:
    twins = Twins(db, await found_company(db), random.Random(seed))
    await twins.begin()
    for _ in range(STEPS):
        await twins.step()
    for _ in range(30):
        await twins.work()
    await twins.compare()
    settled = [it.status for it in twins.model.changes.values()]
    assert "pending" not in settled
    assert {"applied", "merged"} <= set(settled), "a history in which nothing happens shows nothing"


def test_a_wall_clock_can_be_wrong() -> None:
    wall = Wall()
    assert Wall(wall, 1500).now() - wall.now() == timedelta(milliseconds=1500)
    wall.millis += 10
    assert Wall(wall).now() == datetime.fromtimestamp(wall.millis / 1000, UTC)
