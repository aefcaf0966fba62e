"""Reservations as often written: read what is available, check, write; nothing holds what was read."""

from __future__ import annotations

from tests.databases import Connection
from tests.sql.ask import value

RESERVE = "private.reserve_for(uuid,jsonb,interval,uuid)"
LOCK = "perform 1 from public.stock_levels s where s.id = any (v_ids) order by s.id for update;"
CHECKED = "  if v_wanted is distinct from"
THINKS = "  perform pg_sleep(0.003);\n"
"""The way from the application to the database and back, which lies between its read and its write."""


async def read_check_write(db: Connection) -> None:
    """Exchanges the real function of this database for the naive one, and drops the check behind it."""
    source = await value(db, "select pg_get_functiondef(%s::regprocedure)", RESERVE)
    assert LOCK in source
    assert CHECKED in source
    naive = source.replace(LOCK, "").replace(CHECKED, THINKS + CHECKED)
    await db.execute(naive.encode())
    await db.execute("alter table public.stock_levels drop constraint stock_levels_promises_kept")
