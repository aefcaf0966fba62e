"""The daily partitions of `realtime.messages`, and what else the server makes when it connects."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, sql

DAYS_BEFORE, DAYS_AHEAD = 1, 3

# The publication is the server's own: on a fresh database the bootstrap made it already.
PREPARE_DATABASE = """
do $$ begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime_messages_publication') then
    create publication supabase_realtime_messages_publication for table realtime.messages;
  end if;
end $$
"""


async def make_partitions(connection: AsyncConnection[Any], today: date | None = None) -> None:
    """Makes the partitions from yesterday to three days ahead that are missing. Days are UTC days."""
    today = today or datetime.now(UTC).date()
    for offset in range(-DAYS_BEFORE, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        await connection.execute(
            sql.SQL(
                "create table if not exists realtime.{} partition of realtime.messages"
                " for values from ({}) to ({})"
            ).format(
                sql.Identifier(f"messages_{day:%Y_%m_%d}"),
                sql.Literal(f"{day} 00:00:00"),
                sql.Literal(f"{day + timedelta(days=1)} 00:00:00"),
            )
        )
