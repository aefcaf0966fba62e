"""What becomes of an endpoint's queue when it goes, and who sees its deliveries."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.company import Company, add_endpoint, add_member, found_company
from tests.sql.lane_worker import ATTEMPTS, PENDING, LaneWorker, owe


async def test_a_deleted_endpoint_takes_its_queue_along(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    kept = await add_endpoint(db, company)
    await owe(db, company, 2)
    failed, _ = await worker.deliveries(p_lane_ids=[endpoint["lane_id"]])
    await worker.settle([failed], "retry", retry_in_seconds=60)
    async with acting_as(db, company.owner):
        await db.execute("delete from public.webhook_endpoints where id = %s", (endpoint["id"],))
    assert await column(db, "select distinct lane_id from queue.deliveries") == [kept["lane_id"]]
    assert await column(db, "select id from queue.retries") == []
    assert await column(db, "select id from queue.lanes") == [kept["lane_id"]]
    named = await column(db, "select endpoint_id::text from private.webhook_secrets")
    assert named == [kept["id"]], "and its secrets"
    assert await value(db, "select count(*) from vault.secrets") == 1


async def test_what_is_queued_while_an_endpoint_is_deleted_does_not_stay_for_ever(
    db: Connection, other: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    async with open_transaction(other):
        await other.execute("delete from public.webhook_endpoints where id = %s", (endpoint["id"],))
        assert len(await owe(db, company)) == 1, "dispatch still sees the endpoint"
        await other.commit()
    await rpc(db, "dispatch_outbox")
    assert await column(db, PENDING) == []


async def test_a_retry_made_while_an_endpoint_is_deleted_does_not_stay_for_ever(
    db: Connection,
    other: Connection,
    third: Connection,
    company: Company,
    endpoint: dict[str, Any],
    worker: LaneWorker,
) -> None:
    await owe(db, company)
    found = await worker.deliveries()
    delete = "delete from public.webhook_endpoints where id = %s"
    async with open_transaction(db):
        await worker.settle(found, "retry", retry_in_seconds=60)
        async with in_background(other.execute(delete, (endpoint["id"],))):
            await waits_for_a_lock(third, other)
            await db.commit()
    await rpc(db, "dispatch_outbox")
    assert await column(db, "select id from queue.retries") == []


async def test_managers_see_every_delivery_and_others_none(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await owe(db, company, 4)
    delivered, failed, retried, pending = await worker.deliveries()
    await worker.settle([delivered], "delivered")
    await worker.settle([failed], "failed")
    await worker.settle([retried], "retry", retry_in_seconds=60)
    query = (
        "select delivery_id, endpoint_id::text, status, attempts from public.webhook_deliveries order by 1"
    )
    async with acting_as(db, await add_member(db, company, "manager")):
        seen = await rows(db, query)
    assert seen == [
        (one["delivery_id"], endpoint["id"], status, attempts)
        for one, status, attempts in (
            (delivered, "delivered", 1),
            (failed, "failed", 1),
            (retried, "retrying", 1),
            (pending, "pending", 0),
        )
    ]
    stranger = (await found_company(db, "rival")).owner
    for nobody in (await add_member(db, company, "clerk"), await add_member(db, company, "viewer"), stranger):
        async with acting_as(db, nobody):
            assert await rows(db, query) == []
            assert await rows(db, ATTEMPTS) == []


async def test_several_types_in_one_text_are_refused_rather_than_never_matched(
    db: Connection, company: Company
) -> None:
    for listed in ("product.created,product.updated", "product.created product.updated", "", "product"):
        with pytest.raises(psycopg.errors.CheckViolation, match=r"webhook_endpoints_events_(form|single)"):
            await add_endpoint(db, company, events=("product.*", listed))
