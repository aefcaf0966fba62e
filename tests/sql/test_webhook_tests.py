"""Test events: sent past the queue, no part of the log, and the way back for a disabled endpoint."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rows, rpc, value
from tests.sql.company import Company
from tests.sql.lane_worker import LaneWorker, outcome_of

STATUS = "select status from public.webhook_endpoints"


async def send(
    db: Connection, company: Company, endpoint: dict[str, Any], name: str = "send_test_event", **more: object
) -> dict[str, Any]:
    async with acting_as(db, company.owner):
        sent: dict[str, Any] = await call(
            db,
            "public",
            name,
            p_tenant_id=company.tenant_id,
            p_endpoint_id=uuid.UUID(endpoint["id"]),
            **more,
        )
    return sent


async def settle(db: Connection, delivery_id: int, outcome: str) -> dict[str, Any]:
    delivery = {"delivery_id": delivery_id, "lane_id": 0, "attempt": 1, "event_id": "", "type": ""}
    answer: dict[str, Any] = await rpc(
        db, "settle_webhook_test", p_delivery_id=delivery_id, p_result=outcome_of(delivery, outcome)
    )
    return answer


async def test_a_test_is_sent_by_a_job_and_stands_in_the_attempts_alone(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    sent = await send(db, company, endpoint, p_type="order.paid")
    [job] = await column(db, "select payload from queue.jobs where kind = 'webhooks.test'")
    assert job == {"delivery_id": sent["delivery_id"]}
    test = await rpc(db, "read_webhook_test", p_delivery_id=sent["delivery_id"])
    body = json.loads(test["body"])
    assert (body["type"], body["test"], body["seq"], body["id"]) == ("order.paid", True, 0, sent["event_id"])
    assert body["tenant_id"] == str(company.tenant_id)
    assert body["data"]["object"]
    [lane] = await worker.describe(endpoint["lane_id"])
    assert test["lane"] == lane
    before = await value(db, "select count(*) from public.events")
    assert await settle(db, sent["delivery_id"], "delivered") == {"settled": 1, "enabled": False}
    assert await settle(db, sent["delivery_id"], "failed") == {"settled": 0, "enabled": False}, "once"
    seen = "select delivery_id, kind, status, seq from public.webhook_deliveries"
    assert await rows(db, seen) == [(sent["delivery_id"], "test", "delivered", None)]
    await rpc(db, "dispatch_outbox")
    assert await value(db, "select count(*) from public.events") == before
    assert await rpc(db, "read_webhook_test", p_delivery_id=sent["delivery_id"]) is None


async def test_a_disabled_endpoint_that_passes_its_test_is_active_again(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    await db.execute("update public.webhook_endpoints set status = 'disabled'")
    failed = await send(db, company, endpoint, "enable_webhook_endpoint")
    assert await settle(db, failed["delivery_id"], "failed") == {"settled": 1, "enabled": False}
    assert await value(db, STATUS) == "disabled"
    plain = await send(db, company, endpoint)
    await settle(db, plain["delivery_id"], "delivered")
    assert await value(db, STATUS) == "disabled", "a test that was not asked to enable does not"
    passed = await send(db, company, endpoint, "enable_webhook_endpoint")
    assert await settle(db, passed["delivery_id"], "delivered") == {"settled": 1, "enabled": True}
    assert await value(db, STATUS) == "active"


async def test_unknown_types_and_a_heap_of_tests_are_refused(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    for unknown in ("product.updatd", "membership.created", "*"):
        with pytest.raises(psycopg.Error, match=r"webhook\.unknown_event_type"):
            await send(db, company, endpoint, p_type=unknown)
    for _ in range(10):
        await send(db, company, endpoint)
    with pytest.raises(psycopg.Error, match=r"webhook\.tests_waiting"):
        await send(db, company, endpoint)


async def test_the_example_of_every_webhook_type_can_be_sent(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    for known in await column(db, "select type from public.event_types where webhooks"):
        sent = await send(db, company, endpoint, p_type=known)
        await settle(db, sent["delivery_id"], "delivered")
