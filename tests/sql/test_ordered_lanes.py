"""An ordered endpoint: what comes after a retry of its entity lines up behind it, and goes on in order."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_product, rename
from tests.sql.lane_worker import LaneWorker, ids, outcome_of

RETRIES = "select id, blocked from queue.retries order by id"


@pytest.fixture
async def ordered(db: Connection, endpoint: dict[str, Any], worker: LaneWorker) -> LaneWorker:
    await db.execute("update public.webhook_endpoints set ordered = true where id = %s", (endpoint["id"],))
    await rpc(db, "dispatch_outbox")
    return worker


async def changes(db: Connection, company: Company, count: int, sku: str = "SHIRT") -> uuid.UUID:
    """A product that is created and changed, `count` events in all."""
    product = await add_product(db, company, sku)
    for n in range(count - 1):
        await rename(db, product, f"Name {n}")
    await rpc(db, "dispatch_outbox")
    return product


async def test_what_follows_a_retry_is_told_to_line_up_and_comes_in_order(
    db: Connection, company: Company, ordered: LaneWorker
) -> None:
    product = await changes(db, company, 4)
    first, second, *rest = await ordered.deliveries()
    assert {each["order_key"] for each in (first, second, *rest)} == {str(product)}
    assert not any(each["blocked"] for each in (first, second, *rest))
    await ordered.settle([first], "retry", retry_in_seconds=60)
    waiting = await ordered.deliveries()
    assert [(each["delivery_id"], each["blocked"]) for each in waiting] == [
        (each["delivery_id"], True) for each in (second, *rest)
    ]
    await ordered.settle(waiting, "blocked")
    assert await rows(db, RETRIES) == [
        (first["delivery_id"], False),
        *((each["delivery_id"], True) for each in waiting),
    ]
    assert await ordered.deliveries() == []
    await rename(db, product, "One more")
    await rpc(db, "dispatch_outbox")
    [late] = await ordered.deliveries()
    assert late["blocked"], "a new one lines up as well"
    await ordered.settle([late], "blocked")

    await move_clock(db, dt.timedelta(minutes=1))
    await ordered.lease()
    order = []
    while due := await ordered.deliveries():
        assert len(due) == 1, "one at a time"
        order += ids(due)
        await ordered.settle(due, "delivered")
    assert order == ids([first, second, *rest, late])
    assert await rows(db, "select attempt from public.webhook_attempts where outcome = 'delivered'") == [
        (2,),
        *[(1,)] * 4,
    ], "lining up costs no attempt"


@pytest.mark.parametrize("outcome", ["failed", "expired"])
async def test_an_end_without_success_releases_the_next_too(
    db: Connection, company: Company, ordered: LaneWorker, outcome: str
) -> None:
    await changes(db, company, 3)
    first, second, third = await ordered.deliveries()
    await ordered.settle([first], "retry")
    await ordered.settle([second, third], "blocked")
    [again] = await ordered.deliveries()
    await ordered.settle([again], outcome)
    assert ids(await ordered.deliveries()) == ids([second])


async def test_other_entities_are_not_held_up(db: Connection, company: Company, ordered: LaneWorker) -> None:
    await changes(db, company, 2, "A")
    await changes(db, company, 2, "B")
    failed, _, *others = await ordered.deliveries()
    await ordered.settle([failed], "retry", retry_in_seconds=60)
    found = await ordered.deliveries()
    assert [each["blocked"] for each in found] == [True, False, False]
    assert ids(found[1:]) == ids(others)


async def test_one_that_lines_up_when_the_chain_has_just_ended_is_not_stuck(
    db: Connection, company: Company, ordered: LaneWorker
) -> None:
    await changes(db, company, 2)
    first, second = await ordered.deliveries()
    await ordered.settle([first], "retry")
    [again] = await ordered.deliveries(limit=1, after=second["delivery_id"])
    await ordered.settle([again], "delivered")
    await ordered.settle([second], "blocked")
    assert await rows(db, RETRIES) == [(second["delivery_id"], False)]
    assert ids(await ordered.deliveries()) == ids([second])


async def test_a_retry_and_its_followers_settled_together_keep_their_order(
    db: Connection, company: Company, ordered: LaneWorker
) -> None:
    await changes(db, company, 3)
    first, second, third = await ordered.deliveries()
    results = [
        outcome_of(first, "retry", retry_in_seconds=0),
        outcome_of(second, "blocked"),
        outcome_of(third, "blocked"),
    ]
    await rpc(db, "settle_deliveries", p_token=ordered.token, p_results=results)
    assert [blocked for _, blocked in await rows(db, RETRIES)] == [False, True, True]


async def test_an_endpoint_that_is_no_longer_ordered_holds_nobody_up(
    db: Connection, company: Company, endpoint: dict[str, Any], ordered: LaneWorker
) -> None:
    await changes(db, company, 3)
    first, *rest = await ordered.deliveries()
    await ordered.settle([first], "retry", retry_in_seconds=60)
    await ordered.settle(rest, "blocked")
    await db.execute("update public.webhook_endpoints set ordered = false where id = %s", (endpoint["id"],))
    assert ids(await ordered.deliveries()) == ids(rest)
    assert await column(db, "select id from queue.retries where blocked") == []


async def test_what_waits_for_the_first_shows_no_due_time(
    db: Connection, company: Company, ordered: LaneWorker
) -> None:
    await changes(db, company, 2)
    first, second = await ordered.deliveries()
    await ordered.settle([first], "retry", retry_in_seconds=60, status=503)
    await ordered.settle([second], "blocked")
    seen = (
        "select status, attempts, last_status, next_attempt_at is null"
        " from public.webhook_deliveries order by 1"
    )
    assert await rows(db, seen) == [("pending", 0, None, True), ("retrying", 1, 503, False)]
    assert (await rpc(db, "worker_status"))["retries"]["waiting"] == 2
    now = await value(db, "select private.now()")
    next_due = (await rpc(db, "worker_status"))["retries"]["next_due_at"]
    assert dt.datetime.fromisoformat(next_due) == now + dt.timedelta(minutes=1)
