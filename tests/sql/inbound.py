"""Short forms of what the tests of inbound webhooks do: hand events in, work them off as the worker does."""

from __future__ import annotations

import uuid
from typing import Any

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rpc
from tests.sql.company import Company

Event = dict[str, Any]


def event(type_: str, event_id: str = "e-1", **data: Any) -> Event:
    return {"id": event_id, "type": type_, "timestamp": "2026-11-20T10:00:00Z", "data": data}


async def receive_event(
    db: Connection, company: Company, kind: str, it: Event, who: uuid.UUID | None = None
) -> str:
    """Its status; in brackets when it came before."""
    async with acting_as(db, who or company.owner):
        told = await call(
            db, "public", "receive_webhook", p_tenant_id=company.tenant_id, p_kind=kind, p_event=it
        )
    assert told["id"] == it["id"]
    return f"({told['status']})" if told["repeated"] else str(told["status"])


async def work_events(db: Connection) -> list[str]:
    """Claims and does the jobs of events that wait until none is due; what became of each."""
    done: list[str] = []
    while True:
        claim = await rpc(
            db, "claim_jobs", p_worker="w", p_kinds=["inbound.apply"], p_limit=10, p_lease_seconds=60
        )
        if not claim["jobs"]:
            return done
        for job in claim["jobs"]:
            payload = job["payload"]
            told = await apply_told(db, payload["webhook_id"], uuid.UUID(payload["principal_id"]))
            done.append(told["status"])
            result = {"attempt_id": job["attempt_id"], "outcome": "done"}
            if told["status"] == "queued":
                result |= {"outcome": "snooze", "in_seconds": told["in_seconds"]}
            await rpc(db, "settle_jobs", p_results=[result])


async def apply_event(db: Connection, webhook_id: object, who: uuid.UUID) -> str:
    return str((await apply_told(db, webhook_id, who))["status"])


async def apply_told(db: Connection, webhook_id: object, who: uuid.UUID) -> dict[str, Any]:
    async with acting_as(db, who):
        return dict(await call(db, "public", "apply_webhook", p_webhook_id=webhook_id))


async def snooze_next(db: Connection, seconds: int) -> None:
    """What a worker does with the next job that met a fault."""
    claim = await rpc(db, "claim_jobs", p_worker="w", p_kinds=["inbound.apply"], p_limit=1)
    [job] = claim["jobs"]
    again = {"attempt_id": job["attempt_id"], "outcome": "snooze", "in_seconds": seconds}
    await rpc(db, "settle_jobs", p_results=[again])
