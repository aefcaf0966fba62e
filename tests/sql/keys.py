"""API keys to test with, and what their principals may do."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import errors

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rpc, value
from tests.sql.company import Company


@dataclass(frozen=True)
class Key:
    id: uuid.UUID
    secret: str
    answer: dict[str, Any]


async def act(db: Connection, company: Company, command: str, **arguments: object) -> Any:
    """A command of the company's owner, or of whoever stands for it."""
    async with acting_as(db, company.owner):
        return await call(db, "public", command, p_tenant_id=company.tenant_id, **arguments)


async def add_key(db: Connection, company: Company, **arguments: object) -> Key:
    """A key as `create_api_key` makes it."""
    answer = await act(db, company, "create_api_key", **{"p_name": "till", **arguments})
    return Key(uuid.UUID(answer["api_key_id"]), answer["secret"], answer)


async def manage(db: Connection, company: Company, command: str, key: Key, **arguments: object) -> Any:
    """`rotate_api_key`, `revoke_api_key` or `change_api_key`, by the owner."""
    return await act(db, company, command, p_api_key_id=str(key.id), **arguments)


async def place(db: Connection, company: Company, *, wait: bool = False) -> tuple[str, int]:
    answer = await rpc(db, "log_seq", p_tenant_id=company.tenant_id, p_wait=wait)
    while wait and not answer["through"]:
        until = answer["until"]
        answer = await rpc(db, "log_seq", p_tenant_id=company.tenant_id, p_wait=True, p_until=until)
    return answer["epoch"], answer["seq"]


async def changed(db: Connection, company: Company, epoch: str | None, after: int | None) -> dict[str, Any]:
    answer: dict[str, Any] = await rpc(
        db, "changed_tags", p_tenant_id=company.tenant_id, p_epoch=epoch, p_after=after
    )
    return answer


async def permissions(db: Connection, key: Key) -> list[str] | None:
    """What the key may do now, as it is told itself; None: it belongs to no tenant."""
    async with acting_as(db, key.id):
        found: list[str] | None = await value(db, "select permissions from public.my_permissions()")
    return found


async def now(db: Connection) -> dt.datetime:
    moment: dt.datetime = await value(db, "select private.now()")
    return moment


def refused(code: str) -> Any:
    return pytest.raises(errors.Error, match=rf"^{re.escape(code)}\n")


async def sees(db: Connection, key: Key) -> int:
    """How many products the key reads, by the real policies."""
    async with acting_as(db, key.id):
        count: int = await value(db, "select count(*) from public.products")
    return count


async def good_secrets(db: Connection, key: Key) -> list[str]:
    record = await rpc(db, "read_api_key", p_api_key_id=key.id)
    return record["secrets"] if record else []
