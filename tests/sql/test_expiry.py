"""Deliveries expire by age, whatever their endpoint's status, and nothing else does."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_endpoint
from tests.sql.lane_worker import PENDING, LaneWorker, owe

HOUR = dt.timedelta(hours=1)
ENDS = "select delivery_id, outcome, attempt from public.webhook_attempts order by delivery_id, outcome"


async def test_what_is_older_than_its_endpoint_allows_expires(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await db.execute("update public.webhook_endpoints set status = 'paused'")
    [old] = await owe(db, company)
    await move_clock(db, 71 * HOUR)
    [_, young] = await owe(db, company)
    assert await rpc(db, "expire_deliveries") == {"expired": 0, "more": False}
    await move_clock(db, HOUR + dt.timedelta(seconds=1))
    assert await rpc(db, "expire_deliveries") == {"expired": 1, "more": False}
    assert await column(db, PENDING) == [young]
    assert await rows(db, ENDS) == [(old, "expired", 1)]
    seen = "select delivery_id, status, attempts from public.webhook_deliveries order by 1"
    assert await rows(db, seen) == [(old, "expired", 0), (young, "paused", 0)]


async def test_each_endpoint_has_its_own_time_and_slices_are_bounded(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    hasty = await add_endpoint(db, company, events=("product.*",))
    await db.execute(
        "update public.webhook_endpoints set expires_after_hours = 1 where id = %s", (hasty["id"],)
    )
    await owe(db, company, 5)
    await move_clock(db, 2 * HOUR)
    assert await rpc(db, "expire_deliveries", p_limit=3) == {"expired": 3, "more": True}
    assert await rpc(db, "expire_deliveries", p_limit=3) == {"expired": 2, "more": False}
    left = await column(db, "select distinct lane_id from queue.deliveries")
    assert left == [endpoint["lane_id"]]


async def test_a_retry_expires_at_its_time_and_releases_the_next_of_its_entity(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await db.execute("update public.webhook_endpoints set ordered = true where id = %s", (endpoint["id"],))
    await owe(db, company)
    await db.execute("update public.products set name = 'Changed'")
    await rpc(db, "dispatch_outbox")
    first, second = await worker.deliveries()
    await worker.settle([first], "retry", retry_in_seconds=3600, expires_at="2026-01-01T00:00:00Z")
    await worker.settle([second], "blocked")
    assert await rpc(db, "expire_deliveries") == {"expired": 1, "more": False}
    assert await rows(db, "select id, blocked from queue.retries") == [(second["delivery_id"], False)]


async def test_a_settle_that_comes_after_the_expiry_is_told_so(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    [late] = await worker.deliveries()
    await move_clock(db, 73 * HOUR)
    await rpc(db, "expire_deliveries")
    await worker.lease()
    answer = await worker.settle([late], "delivered")
    assert answer["unknown"] == [late["delivery_id"]]
    assert [outcome for _, outcome, _ in await rows(db, ENDS)] == ["expired"]
