"""Endpoints that fail: their people are told in time, and at the end they are disabled."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rows, rpc, value
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_member
from tests.sql.lane_worker import Delivery, LaneWorker, outcome_of, owe

STATE = "select status, disabled_reason from public.webhook_endpoints"
TROUBLES = "select failures, last_status, last_error, told_percent from public.webhook_troubles"
NOTICES = "select kind, severity from public.notifications order by created_at, kind"
HOUR = dt.timedelta(hours=1)


async def fail(db: Connection, worker: LaneWorker, delivery: Delivery, outcome: str = "probe") -> None:
    now = str(await value(db, "select private.now()"))
    await worker.lease()
    await worker.settle([delivery], outcome, started_at=now, status=503, error="status: 503")


@pytest.fixture
async def owed(db: Connection, company: Company, worker: LaneWorker) -> Delivery:
    await owe(db, company)
    [delivery] = await worker.deliveries()
    return delivery


async def test_a_probe_is_noted_and_changes_nothing_else(
    db: Connection, worker: LaneWorker, owed: Delivery
) -> None:
    for _ in range(2):
        await fail(db, worker, owed)
        await move_clock(db, dt.timedelta(seconds=30))
    await worker.lease()
    assert await worker.deliveries() == [owed]
    assert await rows(db, "select attempt, outcome from public.webhook_attempts") == [(1, "probe")] * 2
    assert await rows(db, TROUBLES) == [(2, 503, "status: 503", 0)]
    status = "select status, attempts from public.webhook_deliveries"
    assert await rows(db, status) == [("pending", 0)], "a probe is no end"


async def test_people_are_told_at_50_70_90_and_100_percent_and_then_it_is_disabled(
    db: Connection, worker: LaneWorker, owed: Delivery
) -> None:
    told = []
    for hour in range(0, 121, 6):
        await fail(db, worker, owed)
        notices = await value(db, "select count(*) from public.notifications")
        told.append((hour, notices))
        await move_clock(db, 6 * HOUR)
    first = [next(hour for hour, count in told if count == n) for n in range(1, 5)]
    assert first == [60, 84, 108, 120], "of five days"
    assert await rows(db, NOTICES) == [
        ("webhook.failing", "warning"),
        ("webhook.failing", "warning"),
        ("webhook.failing", "error"),
        ("webhook.disabled", "error"),
    ]
    [(status, reason)] = await rows(db, STATE)
    assert status == "disabled"
    assert reason.startswith("it failed since ")
    await rpc(db, "dispatch_outbox")
    assert "webhook_endpoint.disabled" in await column(db, "select type from public.events")


async def test_one_success_begins_the_count_anew(
    db: Connection, company: Company, worker: LaneWorker, owed: Delivery
) -> None:
    await fail(db, worker, owed)
    await move_clock(db, 80 * HOUR)
    await fail(db, worker, owed)
    assert [percent for *_, percent in await rows(db, TROUBLES)] == [50]
    await worker.settle([owed], "delivered")
    assert await rows(db, TROUBLES) == []
    await owe(db, company)
    [another] = await worker.deliveries()
    await fail(db, worker, another)
    await move_clock(db, 80 * HOUR)
    await fail(db, worker, another)
    assert await value(db, "select count(*) from public.notifications") == 2, (
        "and its people hear of it again"
    )
    assert [status for status, _ in await rows(db, STATE)] == ["active"]


async def test_a_success_in_the_same_batch_outweighs_the_failures(
    db: Connection, company: Company, worker: LaneWorker, owed: Delivery
) -> None:
    await owe(db, company)
    _, other = await worker.deliveries()
    await fail(db, worker, owed, "retry")
    results = [outcome_of(other, "delivered"), outcome_of({**owed, "attempt": 2}, "retry")]
    await rpc(db, "settle_deliveries", p_token=worker.token, p_results=results)
    assert await rows(db, TROUBLES) == []


async def test_410_tells_at_once(db: Connection, worker: LaneWorker, owed: Delivery) -> None:
    await fail(db, worker, owed, "gone")
    assert await rows(db, STATE) == [("disabled", "the endpoint answered 410 Gone")]
    assert await rows(db, NOTICES) == [("webhook.disabled", "error")]


async def test_an_endpoint_taken_up_again_begins_anew(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker, owed: Delivery
) -> None:
    await fail(db, worker, owed)
    await move_clock(db, 121 * HOUR)
    await fail(db, worker, owed)
    async with acting_as(db, company.owner):
        await db.execute(
            "update public.webhook_endpoints set status = 'active' where id = %s", (endpoint["id"],)
        )
    assert await rows(db, TROUBLES) == []
    await fail(db, worker, owed)
    assert [percent for *_, percent in await rows(db, TROUBLES)] == [0], "it has its five days again"


async def test_managers_read_notices_and_mark_them_read(
    db: Connection, company: Company, worker: LaneWorker, owed: Delivery
) -> None:
    await fail(db, worker, owed, "gone")
    manager, clerk = await add_member(db, company, "manager"), await add_member(db, company, "clerk")
    unread = "select title from public.notifications where read_at is null"
    async with acting_as(db, clerk):
        assert await column(db, unread) == []
    async with acting_as(db, manager):
        assert await column(db, unread) == ["Webhook endpoint disabled: https://example.com/hook"]
        assert await call(db, "public", "mark_notifications_read", p_tenant_id=company.tenant_id) == 1
        assert await column(db, unread) == []
        assert await call(db, "public", "mark_notifications_read", p_tenant_id=company.tenant_id) == 0
    assert await column(db, "select read_by from public.notifications") == [manager]
