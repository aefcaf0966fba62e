"""Dispatch as tests use it."""

from __future__ import annotations

from typing import LiteralString

from tests.databases import Connection
from tests.sql.ask import rpc

LOG: LiteralString = "select seq, type, version from public.events where tenant_id = %s order by seq"


async def drain(db: Connection, limit: int = 2000, mark: str = "0") -> str:
    """Dispatch until nothing is left; the mark of the last call."""
    while True:
        answer = await rpc(db, "dispatch_outbox", p_limit=limit, p_mark=mark)
        mark = answer["mark"]
        if answer["drained"]:
            return mark
