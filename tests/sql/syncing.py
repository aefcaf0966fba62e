"""Short forms of what the sync tests do: push, read what is pending, write as the one who pushed."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, rpc, value
from tests.sql.company import Company

Change = dict[str, Any]
STAMP = "1764201600123-0000-till"


def change(entity_id: uuid.UUID, edit: dict[str, Any] | None = None, **more: Any) -> Change:
    """A change of a product's fields, as `push_changes` takes it."""
    return {
        "id": str(uuid.uuid4()),
        "entity": "product",
        "entity_id": str(entity_id),
        "operation": "update",
        "base_version": 1,
        "edit": edit or {},
        "stamp": STAMP,
        **more,
    }


async def push(
    db: Connection, company: Company, *changes: Change, who: uuid.UUID | None = None, client: str = "till"
) -> Any:
    async with acting_as(db, who or company.owner):
        return await call(
            db,
            "public",
            "push_changes",
            p_tenant_id=company.tenant_id,
            p_client=client,
            p_changes=list(changes),
        )


async def pending(db: Connection, company: Company, **more: object) -> list[Change]:
    found: list[Change] = (await rpc(db, "read_changes", p_tenant_id=company.tenant_id, **more))["changes"]
    return found


async def attempt(db: Connection) -> str:
    """Claims the job that works off changes."""
    claim = await rpc(db, "claim_jobs", p_worker="w", p_kinds=["sync.work"], p_limit=1, p_lease_seconds=60)
    [job] = claim["jobs"]
    return str(job["attempt_id"])


def write(it: Change, **more: Any) -> dict[str, Any]:
    """What a merge that lets the edit through makes of a change, as `apply_changes` takes it."""
    edit = it["edit"]
    return {
        "change_id": it["id"],
        "entity": it["entity"],
        "entity_id": it["entity_id"],
        "action": it["operation"],
        "restore": False,
        "version": it["base_version"],
        "fields": {name: told["set"] for name, told in edit.items() if "set" in told},
        "deltas": {name: told["delta"] for name, told in edit.items() if "delta" in told},
        "status": "applied",
        "error": None,
        "decisions": [],
        "stamps": {},
        **more,
    }


async def apply(db: Connection, attempt_id: str, *writes: dict[str, Any], who: uuid.UUID) -> list[str]:
    """The outcomes, in order."""
    async with acting_as(db, who):
        outcomes = await value(db, "select public.apply_changes(%s, %s)", attempt_id, json.dumps(writes))
    assert [each["change_id"] for each in outcomes] == [each["change_id"] for each in writes]
    return [each["outcome"] for each in outcomes]


async def settled(db: Connection, it: Change) -> tuple[str, int | None, str | None]:
    """Status, version and the error's code of a change."""
    query = "select status, version, error ->> 'code' from public.sync_changes where id = %s"
    [row] = await rows(db, query, it["id"])
    return row[0], row[1], row[2]
