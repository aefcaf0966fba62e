"""Short forms of what the inbox tests do: hand messages in, and work off what comes of them."""

from __future__ import annotations

import uuid
from typing import Any, LiteralString

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rpc, value
from tests.sql.company import Company, add_location, receive, stock_line
from tests.sql.syncing import apply, attempt
from worker.gateway.changes import Batch
from worker.sync.merging import policies_of, write_of

Message = dict[str, Any]
EDITS: LiteralString = "select operation, edit, base_version from public.sync_changes order by seq"
PRODUCT: LiteralString = (
    "select name, price::int, attributes, version::int from public.products where deleted_at is null"
)


def message(entity_id: uuid.UUID, version: int, body: dict[str, Any] | None, **more: Any) -> Message:
    return {
        "message_id": f"{entity_id}-{version}",
        "entity": "product",
        "entity_id": str(entity_id),
        "sender_version": version,
        "occurred_at": "2026-11-20T10:00:00Z",
        "body": body,
        **more,
    }


async def hand_in(
    db: Connection, company: Company, *messages: Message, who: uuid.UUID | None = None, source: str = "erp"
) -> list[str]:
    """The statuses, in order; that of one that was taken before in brackets."""
    async with acting_as(db, who or company.owner):
        answers = await call(
            db,
            "public",
            "receive_changes",
            p_tenant_id=company.tenant_id,
            p_source=source,
            p_messages=list(messages),
        )
    assert [each["message_id"] for each in answers] == [each["message_id"] for each in messages]
    assert all((each["change_id"] is not None) == (each["status"] == "queued") for each in answers)
    return [f"({each['status']})" if each["repeated"] else each["status"] for each in answers]


async def work_off(db: Connection, company: Company) -> list[str]:
    """As the worker does it, with its own merge; what became of the changes, in the order of pushing."""
    held = await attempt(db)
    while waiting := await rpc(db, "read_changes", p_tenant_id=company.tenant_id):
        batch = Batch.model_validate(waiting)
        if not batch.changes:
            break
        for each in batch.changes:
            written = write_of(each, policies_of(batch.policies[each.entity]), batch.now)
            await apply(db, held, written, who=uuid.UUID(each.principal_id))
    await rpc(db, "settle_jobs", p_results=[{"attempt_id": held, "outcome": "done"}])
    return await column(db, "select status from public.sync_changes order by seq")


async def stock_level(db: Connection, company: Company, product: uuid.UUID) -> uuid.UUID:
    """A level of 50."""
    await receive(db, company, [stock_line(product, await add_location(db, company), 50)])
    found: uuid.UUID = await value(db, "select id from public.stock_levels where product_id = %s", product)
    return found
