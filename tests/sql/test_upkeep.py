"""Upkeep: partitions ahead and behind, forgotten keys, and one look at everything that waits."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.sql.ask import column, open_transaction, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_location, add_product, receive, stock_line
from tests.sql.lane_worker import LaneWorker, owe

DAY = dt.timedelta(days=1)
PARTITIONS = (
    "select inhrelid::regclass::text from pg_inherits where inhparent = 'public.events'::regclass order by 1"
)


async def test_partitions_are_made_ahead_once(db: Connection) -> None:
    await stop_clock(db)
    await move_clock(db, 30 * DAY)
    today = await value(db, "select private.today()")
    made = (await rpc(db, "make_partitions", p_days_ahead=2))["made"]
    days = [(today + number * DAY).strftime("%Y%m%d") for number in range(3)]
    assert sorted(made) == [f"{parent}_{day}" for parent in ("events", "webhook_attempts") for day in days]
    assert await rpc(db, "make_partitions", p_days_ahead=2) == {"made": []}


async def test_callers_that_make_the_same_partitions_do_not_fail(database: Database, db: Connection) -> None:
    await stop_clock(db)
    await move_clock(db, 30 * DAY)
    sessions = [await database.connect() for _ in range(4)]
    answers = await asyncio.gather(
        *(rpc(session, "make_partitions", p_days_ahead=3) for session in sessions),
        rpc(db, "dispatch_outbox"),
    )
    assert sum(len(answer["made"]) for answer in answers[:-1]) in (7, 8), "dispatch may have made its own"


async def test_whole_days_are_dropped_but_none_that_is_still_owed(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    first, *_ = await column(db, PARTITIONS)
    await move_clock(db, 40 * DAY)
    await worker.lease()
    dropped = (await rpc(db, "drop_partitions", p_keep_days=30))["dropped"]
    assert len(dropped) == 15, "all days of both but the owed one"
    assert await column(db, PARTITIONS) == [first]
    now = str(await value(db, "select private.now()"))
    await worker.settle(await worker.deliveries(), "retry", started_at=now)
    assert (await rpc(db, "drop_partitions", p_keep_days=30))["dropped"] == [], "a retry needs it too"
    await worker.settle(await worker.deliveries(), "delivered")
    assert (await rpc(db, "drop_partitions", p_keep_days=30))["dropped"] == [first.removeprefix("private.")]
    with pytest.raises(psycopg.Error, match=r"retention\.too_short"):
        await rpc(db, "drop_partitions", p_keep_days=0)


async def test_keys_are_forgotten_after_their_time(db: Connection, company: Company) -> None:
    await stop_clock(db)
    line = stock_line(await add_product(db, company), await add_location(db, company), 1)
    await receive(db, company, [line], "old")
    await move_clock(db, dt.timedelta(hours=23))
    await receive(db, company, [line], "new")
    assert await rpc(db, "forget_command_results") == {"forgotten": 0}
    await move_clock(db, dt.timedelta(hours=1, seconds=1))
    assert await rpc(db, "forget_command_results") == {"forgotten": 1}
    assert await column(db, "select key from private.command_results") == ["new"]


async def test_one_look_shows_everything_that_waits(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company, 3)
    failed, *_ = await worker.deliveries()
    await worker.settle([failed], "retry", retry_in_seconds=60)
    await add_product(db, company)
    await rpc(db, "enqueue_job", p_kind="images.fetch", p_unique_key=str(uuid.uuid4()))
    await rpc(db, "claim_jobs", p_worker="w", p_kinds=["images.fetch"], p_limit=1)
    await rpc(db, "enqueue_job", p_kind="images.fetch")
    await rpc(db, "enqueue_job", p_kind="images.fetch", p_due_in_seconds=60)
    await move_clock(db, dt.timedelta(seconds=10))
    status = await rpc(db, "worker_status")
    assert status["schema_version"] == await value(db, "select worker.schema_version()")
    assert status["outbox"] == {"depth": 1, "oldest_seconds": 10}
    assert status["deliveries"] == {"pending": 2, "held": 0, "oldest_seconds": 10}
    assert status["retries"]["waiting"] == 1
    assert status["jobs"] == {"ready": 1, "running": 1, "buried": 0}
    assert status["lanes"] == {"total": 1, "leased": 1}
    assert [(one["name"], one["lanes"]) for one in status["workers"]] == [("first", 1)]
    assert (status["partitions_ahead_days"], status["secrets"]) == (7, "vault")
    await move_clock(db, dt.timedelta(seconds=30))
    assert (await rpc(db, "worker_status"))["workers"] == [], "its lease ran out"


async def test_status_tells_how_long_a_snapshot_has_held_up_vacuum(db: Connection, other: Connection) -> None:
    started = await value(db, "select clock_timestamp()")
    async with open_transaction(other, "repeatable read"):
        held = (await rpc(db, "worker_status"))["oldest_xmin_seconds"]
        assert 0 < held <= await value(db, "select extract(epoch from clock_timestamp() - %s)", started)


async def test_what_a_paused_endpoint_is_owed_waits_for_nobody(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company, 3)
    failed, *_ = await worker.deliveries()
    await worker.settle([failed], "retry", retry_in_seconds=60)
    await db.execute(
        "update public.webhook_endpoints set status = 'paused' where tenant_id = %s", (company.tenant_id,)
    )
    status = await rpc(db, "worker_status")
    assert (status["deliveries"]["pending"], status["deliveries"]["held"]) == (0, 2)
    assert status["retries"] == {"waiting": 0, "next_due_at": None}


async def test_nothing_is_dropped_for_want_of_a_number(db: Connection) -> None:
    before = await column(db, PARTITIONS)
    with pytest.raises(psycopg.Error, match=r"retention\.too_short"):
        await rpc(db, "drop_partitions", p_keep_days=None)
    assert await column(db, PARTITIONS) == before


async def test_dropping_gives_up_before_it_holds_up_dispatch_behind_a_reader(
    db: Connection, other: Connection
) -> None:
    await stop_clock(db)
    await move_clock(db, 40 * DAY)
    await db.execute("set statement_timeout = '10s'")
    async with open_transaction(other):
        await other.execute("select count(*) from public.events")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await rpc(db, "drop_partitions")
    assert (await rpc(db, "drop_partitions"))["dropped"], "the next try"
