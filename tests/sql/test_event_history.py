"""An event's way from its commit to its last confirmation, in one call."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rpc, value
from tests.sql.company import Company, add_endpoint, add_member, found_company
from tests.sql.lane_worker import LaneWorker, owe


async def history(db: Connection, company: Company, event_id: str) -> dict[str, Any]:
    async with acting_as(db, company.owner):
        found: dict[str, Any] = await call(
            db, "public", "event_history", p_tenant_id=company.tenant_id, p_event_id=event_id
        )
    return found


async def test_all_that_became_of_an_event(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    second = await add_endpoint(db, company, url="https://example.com/second", events=("product.*",))
    await worker.lease()
    await owe(db, company)
    one, two = await worker.deliveries()
    timings = {"dns_ms": 1.5, "connect_ms": 2.5, "first_byte_ms": 3.5}
    await worker.settle([one], "retry", retry_in_seconds=0, error="status: 500", **timings)
    found = await history(db, company, one["event_id"])
    assert found["event"]["seq"] == await value(db, "select max(seq) from public.events")
    assert found["event"]["occurred_at"] <= found["event"]["dispatched_at"]
    assert [(each["endpoint_id"], each["status"]) for each in found["deliveries"]] == [
        (endpoint["id"], "retrying"),
        (second["id"], "pending"),
    ]
    [attempt] = found["deliveries"][0]["attempts"]
    assert timings.items() <= attempt.items()
    [again] = [each for each in await worker.deliveries() if each["retry"]]
    await worker.settle([again], "delivered")
    await worker.settle([two], "failed")
    async with acting_as(db, company.owner):
        await call(
            db,
            "public",
            "replay_delivery",
            p_tenant_id=company.tenant_id,
            p_delivery_id=two["delivery_id"],
        )
    ends = (await history(db, company, one["event_id"]))["deliveries"]
    assert [(e["kind"], e["status"], [a["outcome"] for a in e["attempts"]]) for e in ends] == [
        ("event", "delivered", ["retry", "delivered"]),
        ("event", "failed", ["failed"]),
        ("replay", "pending", []),
    ]


async def test_an_event_of_nobody_or_of_another_tenant_is_not_found(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    rival = await found_company(db, "rival")
    await rpc(db, "dispatch_outbox")
    theirs = await value(
        db, "select id from public.events where tenant_id = %s order by seq limit 1", rival.tenant_id
    )
    for unknown in (theirs, "evt_" + "f" * 32, "gibberish", ""):
        with pytest.raises(psycopg.Error, match=r"event\.not_found"):
            await history(db, company, unknown)
    clerk = Company(company.tenant_id, await add_member(db, company, "clerk"))
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        await history(db, clerk, theirs)
