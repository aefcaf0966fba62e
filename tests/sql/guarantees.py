"""Guarantees of the event path and of tenancy, each as a checker: AssertionError where it does not hold.

The interleavings are forced with open transactions, so a checker gives the same answer every time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import psycopg

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, in_background, open_transaction, rpc, value, waits_for_a_lock
from tests.sql.bell import forget_rings, hang_bell, rings
from tests.sql.company import (
    Company,
    add_endpoint,
    add_member,
    add_product,
    add_products,
    found_company,
    rename,
)
from tests.sql.lane_worker import told


@dataclass(frozen=True)
class Stage:
    """A clone with one company and three sessions."""

    database: Database
    company: Company
    db: Connection
    other: Connection
    third: Connection


async def a_slow_writer_loses_nothing(stage: Stage) -> None:
    """One that takes its outbox id early and commits late."""
    slow, fast = await add_products(stage.db, stage.company, 2)
    async with open_transaction(stage.other):
        await rename(stage.other, slow, "Slow")
        await rename(stage.db, fast, "Fast")
        mark = (await rpc(stage.db, "dispatch_outbox"))["mark"]
        await stage.other.commit()
    await rpc(stage.db, "dispatch_outbox", p_mark=mark)
    updated = await column(stage.db, "select entity_id from public.events where type = 'product.updated'")
    assert sorted(updated) == sorted([slow, fast])


async def dispatchers_that_meet_dispatch_once(stage: Stage) -> None:
    await add_products(stage.db, stage.company, 5)
    async with open_transaction(stage.db):
        await rpc(stage.db, "dispatch_outbox")
        async with in_background(rpc(stage.other, "dispatch_outbox")):
            await waits_for_a_lock(stage.third, stage.other)
            await stage.db.commit()
    seqs = await column(stage.db, "select seq from public.events order by seq")
    assert seqs == [1, 2, 3, 4, 5, 6, 7]


async def what_is_not_as_the_catalogue_says_stays_inside(stage: Stage) -> None:
    """Kept from webhooks, in the log, and in nobody's way."""
    db = stage.db
    await add_endpoint(db, stage.company)
    await rpc(db, "dispatch_outbox")
    await db.execute("alter table public.locations drop column name cascade")
    await db.execute("delete from public.event_types where type = 'category.created'")
    for statement in (
        "insert into public.locations (tenant_id, code) values (%s, 'A')",
        "insert into public.categories (tenant_id, name, slug) values (%s, 'Boots', 'boots')",
    ):
        await db.execute(statement.encode(), (stage.company.tenant_id,))
    await add_product(db, stage.company)
    await rpc(db, "dispatch_outbox")
    logged = await column(db, "select type from public.events where seq > 3 order by seq")
    assert logged == ["location.created", "category.created", "product.created"]
    owed = await column(
        db,
        "select e.type from queue.deliveries d join public.events e using (tenant_id, seq, dispatched_on)"
        " where seq > 3",
    )
    assert owed == ["product.created"]
    assert await value(db, "select count(*) from private.invalid_events") == 2


async def a_stale_token_changes_nothing(stage: Stage) -> None:
    """The worker that held the lane before comes back with results of its own."""
    db = stage.db
    endpoint = await add_endpoint(db, stage.company)
    await add_product(db, stage.company)
    await rpc(db, "dispatch_outbox")
    former = (await rpc(db, "lease_lanes", p_worker="former"))["token"]
    owed = (await rpc(db, "read_lanes", p_token=former, p_after=0, p_limit=10))["deliveries"]
    await db.execute("update queue.leases set expires_at = private.now() where id = %s", (former,))
    taken = (await rpc(db, "lease_lanes", p_worker="successor"))["lanes"]
    assert taken == [[endpoint["lane_id"], 1]]
    results = [
        {
            "delivery_id": delivery["delivery_id"],
            "lane_id": delivery["lane_id"],
            "attempt": 1,
            "outcome": outcome,
            "event_id": delivery["event_id"],
            "type": delivery["type"],
            "started_at": "2026-01-01T00:00:00Z",
            "expires_at": "2100-01-01T00:00:00Z",
        }
        for delivery, outcome in zip(owed, ("delivered", "failed"), strict=True)
    ]
    answer = await rpc(db, "settle_deliveries", p_token=former, **told(results))
    assert await value(db, "select count(*) from queue.deliveries") == len(owed) == 2
    assert await value(db, "select count(*) from public.webhook_attempts") == 0
    assert answer["stale"]


async def a_committed_write_has_rung_when_another_writer_rolls_back(stage: Stage) -> None:
    await _hear_only(stage)
    async with open_transaction(stage.other):
        await add_product(stage.other, stage.company, "ROLLED-BACK")
        await add_product(stage.db, stage.company, "COMMITTED")
    assert await rings(stage.db) == [{"lane": "outbox"}]


async def a_committed_write_has_rung_before_another_writer_commits(stage: Stage) -> None:
    await _hear_only(stage)
    async with open_transaction(stage.other):
        await add_product(stage.other, stage.company, "LATE")
        await add_product(stage.db, stage.company, "EARLY")
        assert await rings(stage.db) == [{"lane": "outbox"}]
        await stage.other.commit()
    assert len(await rings(stage.db)) == 2


async def writers_do_not_wait_for_each_other(stage: Stage) -> None:
    first, second = (session.info.backend_pid for session in (stage.other, stage.db))
    async with open_transaction(stage.other):
        await add_product(stage.other, stage.company, "OPEN")
        async with in_background(add_product(stage.db, stage.company, "BESIDE")) as writing:
            while not writing.done():
                await asyncio.wait([writing], timeout=0.05)
                waits = await value(stage.third, "select %s = any (pg_blocking_pids(%s))", first, second)
                assert not waits, "a writer waits for another one"


async def strangers_reach_nothing(stage: Stage) -> None:
    product = await add_product(stage.db, stage.company)
    stranger = (await found_company(stage.db, "rival")).owner
    async with acting_as(stage.db, stranger):
        assert await column(stage.db, "select sku from public.products") == []
        changed = await stage.db.execute("update public.products set name = 'Mine'")
        assert changed.rowcount == 0
        deleted = await stage.db.execute("delete from public.products")
        assert deleted.rowcount == 0
    assert await value(stage.db, "select name from public.products where id = %s", product) == "Shirt"
    await _insert_is_refused(stage, stranger)


async def viewers_only_read(stage: Stage) -> None:
    await add_product(stage.db, stage.company)
    viewer = await add_member(stage.db, stage.company, "viewer")
    async with acting_as(stage.db, viewer):
        assert await column(stage.db, "select sku from public.products") == ["SHIRT"]
        changed = await stage.db.execute("update public.products set name = 'Mine'")
        assert changed.rowcount == 0
        deleted = await stage.db.execute("delete from public.products")
        assert deleted.rowcount == 0
    await _insert_is_refused(stage, viewer)


async def _insert_is_refused(stage: Stage, principal: object) -> None:
    try:
        async with acting_as(stage.db, str(principal)):
            await add_product(stage.db, stage.company, "SMUGGLED")
    except psycopg.errors.InsufficientPrivilege:
        return
    raise AssertionError("the row was let in")


async def _hear_only(stage: Stage) -> None:
    await hang_bell(stage.database)
    await forget_rings(stage.db)
