"""Settling: what became of deliveries, written back once, by the holder of the lane alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import column, open_transaction, rows, rpc, value
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_product
from tests.sql.lane_worker import ATTEMPTS, LEASE, PENDING, LaneWorker, ids, outcome_of, owe


async def test_a_delivery_is_settled_once(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 2)
    found = await worker.deliveries()
    assert await worker.settle(found, "delivered", response="ok" * 4000) == {
        "stale": False,
        "settled": 2,
        "unknown": [],
    }
    again = await worker.settle(found, "failed")
    assert again == {"stale": False, "settled": 0, "unknown": ids(found)}
    assert await column(db, PENDING) == []
    logged = await rows(
        db,
        "select endpoint_id::text, event_id, outcome, status, duration_ms::float, length(response)"
        " from public.webhook_attempts",
    )
    assert sorted(logged) == sorted(
        (endpoint["id"], delivery["event_id"], "delivered", 200, 12.5, 4096) for delivery in found
    )


async def test_unknown_ids_are_named_and_leave_the_rest_alone(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    (real,) = await worker.deliveries()
    unknown = {**real, "delivery_id": 999_999}
    wrong_lane = {**real, "lane_id": 999_999}
    wrong_attempt = {**real, "attempt": 2}
    for delivery in (unknown, wrong_lane, wrong_attempt):
        answer = await worker.settle([delivery], "delivered")
        assert answer == {"stale": False, "settled": 0, "unknown": ids([delivery])}
    assert (await worker.settle([unknown, real], "delivered"))["settled"] == 1


async def test_an_outcome_that_does_not_exist_changes_nothing(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company, 2)
    good, bad = await worker.deliveries()
    with pytest.raises(psycopg.errors.CheckViolation, match="webhook_attempts_outcome_known"):
        await rpc(
            db,
            "settle_deliveries",
            p_token=worker.token,
            p_results=[outcome_of(good, "delivered"), outcome_of(bad, "lost")],
        )
    assert await column(db, PENDING) == ids([good, bad])


async def test_a_stale_token_changes_nothing(
    db: Connection, other: Connection, company: Company, worker: LaneWorker
) -> None:
    owed = await owe(db, company)
    found = await worker.deliveries()
    await move_clock(db, LEASE)
    assert (await worker.settle(found, "delivered"))["stale"], "nobody took over, yet it ran out"
    successor = LaneWorker(other, "second")
    await successor.lease()
    for outcome in ("delivered", "retry", "failed", "gone"):
        assert await worker.settle(found, outcome) == {"stale": True, "settled": 0, "unknown": []}
    assert await column(db, PENDING) == owed
    assert await rows(db, ATTEMPTS) == []
    assert (await successor.settle(await successor.deliveries(), "delivered"))["settled"] == 1


async def test_a_lane_given_away_is_settled_by_its_new_holder_alone(
    db: Connection, other: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company)
    found = await worker.deliveries()
    await rpc(db, "release_lanes", p_token=worker.token, p_lane_ids=[endpoint["lane_id"]])
    await LaneWorker(other, "second").lease()
    assert await worker.settle(found, "delivered") == {"stale": False, "settled": 0, "unknown": ids(found)}
    assert await column(db, PENDING) == ids(found)


async def test_a_settle_in_flight_when_the_lease_ends_counts_and_the_taker_waits(
    db: Connection, other: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    found = await worker.deliveries()
    taker = LaneWorker(other, "second")
    async with open_transaction(db):
        assert (await worker.settle(found, "delivered"))["settled"] == 1
        await other.execute("update private.test_clock set at = at + %s", (LEASE,))
        assert await taker.lanes() == set(), "the lanes come with the commit of what is in flight"
        await db.commit()
    assert len(await taker.lanes()) == 1
    assert await taker.deliveries() == []
    assert await rows(db, ATTEMPTS) == [(found[0]["delivery_id"], 1, "delivered")]


async def test_a_failure_comes_back_when_it_is_due(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    (first,) = await worker.deliveries()
    await worker.settle([first], "retry", retry_in_seconds=5, error="timeout", status=None)
    answer = await worker.read()
    assert answer["deliveries"] == []
    now = await value(db, "select private.now()")
    assert dt.datetime.fromisoformat(answer["next_retry_at"]) == now + dt.timedelta(seconds=5)
    await move_clock(db, dt.timedelta(seconds=5))
    (second,) = await worker.deliveries()
    assert second == {
        **first,
        "retry": True,
        "attempt": 2,
        "order_key": None,
        "expires_at": "2026-12-23T10:00:00+00:00",
    }
    await worker.settle([second], "retry", retry_in_seconds=0)
    (last,) = await worker.deliveries()
    assert (await worker.settle([second], "delivered"))["unknown"] == ids([second]), "that attempt is over"
    await worker.settle([last], "delivered")
    assert await worker.deliveries() == []
    id_ = first["delivery_id"]
    assert await rows(db, ATTEMPTS) == [(id_, 1, "retry"), (id_, 2, "retry"), (id_, 3, "delivered")]
    retry_at = "select retry_at from public.webhook_attempts order by attempt"
    assert await column(db, retry_at) == [now + dt.timedelta(seconds=5), now + dt.timedelta(seconds=5), None]


async def test_busy_retries_and_parked_lanes_are_left_out(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 2)
    found = await worker.deliveries()
    await worker.settle(found, "retry")
    one, two = ids(await worker.deliveries())
    assert ids(await worker.deliveries(p_busy_ids=[one])) == [two]
    assert await worker.deliveries(p_parked_lane_ids=[endpoint["lane_id"]]) == []
    (fresh,) = await owe(db, company)
    assert ids(await worker.deliveries(p_parked_lane_ids=[endpoint["lane_id"]])) == [fresh], (
        "first attempts are"
    )


async def test_gone_disables_the_endpoint_and_ends_the_delivery(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 2)
    one, two = await worker.deliveries()
    await worker.settle([one], "gone", status=410)
    state = await rows(
        db, "select status, disabled_reason from public.webhook_endpoints where id = %s", endpoint["id"]
    )
    assert state == [("disabled", "the endpoint answered 410 Gone")]
    assert await worker.deliveries() == []
    await add_product(db, company)
    answer = await rpc(db, "dispatch_outbox")
    assert (answer["endpoints"], answer["deliveries"]) == (1, 0)
    assert await column(db, PENDING) == ids([two])


async def test_settling_makes_the_days_partition_of_the_attempts(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    await move_clock(db, dt.timedelta(days=30))
    await worker.lease()
    found = await worker.deliveries()
    assert (await worker.settle(found, "delivered"))["settled"] == 1
