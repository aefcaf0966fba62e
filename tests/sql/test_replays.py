"""Replays: the same bytes under the same id, slice by slice, from where the last one ended."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rows, rpc, value
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_product, rename
from tests.sql.lane_worker import LaneWorker, owe

REPLAY = "select status, queued from public.webhook_replays"


async def replay(db: Connection, company: Company, endpoint: dict[str, Any], **options: object) -> uuid.UUID:
    begun = await value(db, "select private.now() - interval '1 day'")
    async with acting_as(db, company.owner):
        row = await (
            await db.execute(
                "select (public.replay_events(%s, %s, %s, %s, %s)).id",
                (
                    company.tenant_id,
                    endpoint["id"],
                    options.get("since", begun),
                    options.get("until"),
                    options.get("types"),
                ),
            )
        ).fetchone()
    assert row is not None
    found: uuid.UUID = row[0]
    return found


async def deliver_all(worker: LaneWorker) -> list[dict[str, Any]]:
    found = await worker.deliveries()
    if found:
        await worker.settle(found, "delivered")
    return found


async def queue(db: Connection, replay_id: uuid.UUID, count: int, *, limit: int) -> None:
    """Slices of the replay until it has queued `count`; the first of a tenant's events match no product."""
    queued = 0
    while queued < count:
        moved = await rpc(db, "continue_replay", p_replay_id=replay_id, p_limit=limit)
        assert not moved["done"]
        queued += moved["queued"]
    assert queued == count


async def test_a_delivery_is_sent_again_with_the_same_bytes_under_the_same_id(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    [first] = await deliver_all(worker)
    async with acting_as(db, company.owner):
        answer = await call(
            db,
            "public",
            "replay_delivery",
            p_tenant_id=company.tenant_id,
            p_delivery_id=first["delivery_id"],
        )
    assert answer["event_id"] == first["event_id"]
    [again] = await worker.deliveries()
    assert (again["event_id"], again["body"]) == (first["event_id"], first["body"])
    assert (again["attempt"], again["retry"]) == (1, True)
    assert again["delivery_id"] != first["delivery_id"]
    await worker.settle([again], "delivered")
    kinds = "select kind, outcome from public.webhook_attempts order by delivery_id"
    assert await rows(db, kinds) == [("event", "delivered"), ("replay", "delivered")]


async def test_only_what_was_tried_and_is_still_in_the_log_can_be_replayed(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    async def again(delivery_id: int) -> None:
        async with acting_as(db, company.owner):
            await call(
                db,
                "public",
                "replay_delivery",
                p_tenant_id=company.tenant_id,
                p_delivery_id=delivery_id,
            )

    with pytest.raises(psycopg.Error, match=r"webhook\.delivery_not_found"):
        await again(999_999)
    await owe(db, company)
    [gone] = await deliver_all(worker)
    await db.execute("truncate public.events")
    with pytest.raises(psycopg.Error, match=r"webhook\.event_gone"):
        await again(gone["delivery_id"])


async def test_a_period_is_replayed_in_slices_and_each_event_once(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 10)
    first = await deliver_all(worker)
    replay_id = await replay(db, company, endpoint)
    assert await value(db, "select kind from queue.jobs where kind = 'webhooks.replay'")
    again: list[dict[str, Any]] = []
    for _ in range(20):
        moved = await rpc(db, "continue_replay", p_replay_id=replay_id, p_limit=3)
        again += await deliver_all(worker)
        if moved["done"]:
            break
    assert [each["event_id"] for each in again] == [each["event_id"] for each in first]
    assert [each["body"] for each in again] == [each["body"] for each in first]
    assert await rows(db, REPLAY) == [("done", 10)]
    assert (await rpc(db, "continue_replay", p_replay_id=replay_id))["done"]
    assert await worker.deliveries() == []


async def test_a_lane_is_given_no_more_than_it_takes(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 10)
    await deliver_all(worker)
    replay_id = await replay(db, company, endpoint)
    await queue(db, replay_id, 4, limit=4)
    for _ in range(3):
        moved = await rpc(db, "continue_replay", p_replay_id=replay_id, p_limit=4)
        assert (moved["queued"], moved["waiting"]) == (0, True)
    assert await value(db, "select count(*) from queue.retries") == 4
    await db.execute("update public.webhook_endpoints set status = 'paused'")
    assert (await rpc(db, "continue_replay", p_replay_id=replay_id, p_limit=9))["paused"]


async def test_a_slice_that_is_rolled_back_is_done_again_and_none_twice(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 4)
    await deliver_all(worker)
    replay_id = await replay(db, company, endpoint)
    await db.execute("begin")
    await queue(db, replay_id, 2, limit=2)
    await db.execute("rollback")
    for _ in range(5):
        await rpc(db, "continue_replay", p_replay_id=replay_id)
    assert len({each["event_id"] for each in await worker.deliveries()}) == 4
    assert await value(db, "select count(*) from queue.retries") == 4


async def test_period_types_and_filter_choose_what_is_replayed(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    product = await add_product(db, company)
    await rpc(db, "dispatch_outbox")
    await move_clock(db, dt.timedelta(hours=1))
    split = await value(db, "select private.now()")
    await rename(db, product, "Later")
    await rpc(db, "dispatch_outbox")
    await worker.lease()
    await deliver_all(worker)

    async def types(**options: object) -> list[str]:
        await rpc(db, "continue_replay", p_replay_id=await replay(db, company, endpoint, **options))
        await move_clock(db, dt.timedelta(seconds=1))
        await worker.lease()
        return [each["type"] for each in await deliver_all(worker)]

    assert await types(until=split) == ["product.created"]
    assert await types(since=split) == ["product.updated"]
    assert await types(types=["product.created"]) == ["product.created"]
    assert await types(types=["*"]) == ["product.created", "product.updated"], "its own filter stands"
    assert await types(types=["order.*"]) == []


async def test_a_cancelled_replay_queues_nothing_more(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 4)
    await deliver_all(worker)
    replay_id = await replay(db, company, endpoint)
    await queue(db, replay_id, 1, limit=1)
    async with acting_as(db, company.owner):
        await db.execute("select public.cancel_replay(%s, %s)", (company.tenant_id, replay_id))
    assert (await rpc(db, "continue_replay", p_replay_id=replay_id))["done"]
    assert await rows(db, REPLAY) == [("cancelled", 1)]


async def test_replays_of_an_ordered_endpoint_keep_the_order_of_each_entity(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await db.execute("update public.webhook_endpoints set ordered = true")
    product = await add_product(db, company)
    await rename(db, product, "Second")
    await rename(db, product, "Third")
    await rpc(db, "dispatch_outbox")
    first = await deliver_all(worker)
    await rpc(db, "continue_replay", p_replay_id=await replay(db, company, endpoint))
    order = []
    while due := await worker.deliveries():
        assert len(due) == 1
        order += [each["event_id"] for each in due]
        await worker.settle(due, "delivered")
    assert order == [each["event_id"] for each in first]


async def test_a_period_that_is_none_and_too_many_at_once_are_refused(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    now = await value(db, "select private.now()")
    with pytest.raises(psycopg.Error, match=r"webhook\.replay_range"):
        await replay(db, company, endpoint, since=now + dt.timedelta(hours=1))
    for _ in range(20):
        await replay(db, company, endpoint)
    with pytest.raises(psycopg.Error, match=r"webhook\.replays_running"):
        await replay(db, company, endpoint)
    jobs = await column(db, "select distinct serial_key from queue.jobs where kind = 'webhooks.replay'")
    assert len(jobs) == 1, "one at a time for an endpoint"
