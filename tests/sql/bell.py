"""Hears what the database broadcasts: the rows that `realtime.send` leaves for the Realtime server."""

from __future__ import annotations

from typing import Any

from tests.databases import Connection, Database
from tests.sql.ask import column


async def hang_bell(database: Database) -> None:
    """Gives `realtime.messages` of this clone a partition; the Realtime server makes them elsewhere."""
    admin = await database.connect("supabase_admin")
    await admin.execute("create table realtime.messages_heard partition of realtime.messages default")


async def rings(db: Connection, topic: str = "worker") -> list[Any]:
    """The payloads rung on `topic` so far, oldest first, less the id that `realtime.send` adds."""
    return await column(
        db,
        "select payload - 'id' from realtime.messages where topic = %s and event = 'ring' and private"
        " order by inserted_at, xmin::text::bigint",
        topic,
    )


async def forget_rings(db: Connection) -> None:
    await db.execute("delete from realtime.messages")
