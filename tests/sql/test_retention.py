"""Retention: history goes by whole days or not at all, and no day goes that is still owed."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_product
from tests.sql.lane_worker import LaneWorker, owe

DAY = dt.timedelta(days=1)
DAYS = "select d.name from private.days_of('public.events') d order by 1"
HISTORY = r"(only\s+)?(public\.|private\.)?(events|webhook_attempts)(_\d+)?\b"


async def first_day(db: Connection) -> str:
    name: str = (await column(db, DAYS))[0]
    return name


async def drop(db: Connection, keep_days: int = 30) -> list[str]:
    dropped: list[str] = (await rpc(db, "drop_partitions", p_keep_days=keep_days))["dropped"]
    return dropped


async def test_a_day_whose_events_still_fan_out_is_kept(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await db.execute(
        "create or replace function private.wide_tenant() returns integer language sql immutable"
        " set search_path = '' as $$ select 0 $$"
    )
    definition = str(await value(db, "select pg_get_functiondef('worker.dispatch_outbox'::regproc)"))
    await db.execute(definition.replace("private.fan_out(2500)", "0").encode())
    await add_product(db, company)
    await rpc(db, "dispatch_outbox")
    first = await first_day(db)
    assert await rows(db, "select seq from queue.deliveries") == []
    await move_clock(db, 40 * DAY)
    assert first not in await drop(db)
    await worker.lease()
    await value(db, "select private.fan_out(100)")
    assert len(await worker.deliveries()) == 1, "the event was there to be sent"
    assert first not in await drop(db), "now it is owed"
    await worker.settle(await worker.deliveries(), "delivered")
    assert await drop(db) == [first]


async def test_what_waits_as_long_as_an_endpoint_may_ask_for_is_sent_under_a_short_retention(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await db.execute("update public.webhook_endpoints set expires_after_hours = 336, status = 'paused'")
    await owe(db, company)
    first = await first_day(db)
    await move_clock(db, 14 * DAY - dt.timedelta(hours=1))
    assert (await rpc(db, "expire_deliveries"))["expired"] == 0
    assert first not in await drop(db, 1)
    await db.execute("update public.webhook_endpoints set status = 'active'")
    await worker.lease()
    [delivery] = await worker.deliveries()
    assert delivery["body"]
    await move_clock(db, dt.timedelta(hours=2))
    assert (await rpc(db, "expire_deliveries"))["expired"] == 1
    assert first in await drop(db, 1), "nothing owed for ever keeps a day"


async def test_a_running_replay_of_dropped_days_ends(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company, 3)
    await worker.settle(await worker.deliveries(), "delivered")
    since = await value(db, "select private.now() - interval '1 day'")
    async with acting_as(db, company.owner):
        await call(
            db,
            "public",
            "replay_events",
            p_tenant_id=company.tenant_id,
            p_endpoint_id=await value(db, "select id from public.webhook_endpoints"),
            p_from=since,
        )
    replay_id = await value(db, "select id from public.webhook_replays")
    first = await first_day(db)
    await move_clock(db, 40 * DAY)
    assert first in await drop(db), "it has queued nothing of that day yet"
    assert await rpc(db, "continue_replay", p_replay_id=replay_id) == {
        "queued": 0,
        "done": True,
        "waiting": False,
        "paused": False,
    }
    assert await rows(db, "select status, queued from public.webhook_replays") == [("done", 0)]


async def test_a_replay_that_commits_while_dropping_waits_for_the_log_keeps_its_day(
    db: Connection, company: Company, worker: LaneWorker, other: Connection, third: Connection
) -> None:
    """Looking before the lock only: the day is gone, and the replay that was answered has no event."""
    await owe(db, company)
    await worker.settle(await worker.deliveries(), "delivered")
    first = await first_day(db)
    await move_clock(db, 40 * DAY)
    await db.execute("alter function worker.drop_partitions(integer) set lock_timeout = '20s'")
    lane = await value(db, "select id from queue.lanes")
    event = "select seq, dispatched_on from public.events where type = 'product.created'"
    async with open_transaction(other):
        [(seq, day)] = await rows(other, event)
        await value(
            other, "select private.queue_replays(%s, %s, %s, %s)", lane, company.tenant_id, [seq], [day]
        )
        async with in_background(drop(third)) as task:
            await waits_for_a_lock(db, third)
            await other.commit()
            dropped = await task
    assert first not in dropped
    await worker.lease()
    assert [each["retry"] for each in await worker.deliveries()] == [True]


async def history_is_touched_by(db: Connection) -> dict[str, set[str]]:
    """Functions of ours that delete from, update or drop history, by what they do."""
    sources = await rows(
        db,
        "select p.oid::regprocedure::text, p.prosrc from pg_proc p"
        " where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace, 'worker'::regnamespace,"
        " 'queue'::regnamespace)",
    )
    ways = {
        "delete": rf"\b(delete\s+from|truncate(\s+table)?|merge\s+into)\s+{HISTORY}",
        "update": rf"\bupdate\s+{HISTORY}",
        "dynamic": r"\b(delete\s+from|truncate(\s+table)?)\s+(only\s+)?(private\.|public\.)?%",
        "drop": r"\bdrop\s+table\b",
    }
    return {
        way: {name.partition("(")[0] for name, source in sources if re.search(pattern, source, re.IGNORECASE)}
        for way, pattern in ways.items()
    }


async def test_nothing_deletes_history_but_dropping_whole_days_and_privacy(db: Connection) -> None:
    touched = await history_is_touched_by(db)
    assert touched == {
        "delete": set(),
        "update": {"private.redact_events"},
        "dynamic": {"private.erase_rows"},
        "drop": {"worker.drop_partitions"},
    }


@pytest.mark.parametrize(
    ("way", "statement"),
    [
        ("delete", "delete from public.events e where e.dispatched_on < private.today() - 30"),
        ("delete", "DELETE\n  FROM only webhook_attempts"),
        ("update", "update public.webhook_attempts a set response = null"),
    ],
)
async def test_a_clean_up_by_rows_would_be_found(db: Connection, way: str, statement: str) -> None:
    await db.execute(
        f"create function private.clean_up() returns void language sql as $$ {statement} $$".encode()
    )
    assert "private.clean_up" in (await history_is_touched_by(db))[way]


async def test_no_role_of_the_api_can_change_history(db: Connection) -> None:
    able = await rows(
        db,
        "select r, t, p from unnest('{anon,authenticated,service_role}'::text[]) r,"
        " unnest('{public.events,public.webhook_attempts}'::text[]) t,"
        " unnest('{insert,update,delete,truncate}'::text[]) p where has_table_privilege(r, t, p)",
    )
    assert able == []
