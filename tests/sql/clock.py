"""A manual clock: `private.now()` of one clone stands still until a test moves it."""

from __future__ import annotations

import datetime as dt

from tests.databases import Connection


async def stop_clock(db: Connection) -> None:
    """From now on it is the moment of this call, in every session of the clone."""
    await db.execute("create table private.test_clock as select clock_timestamp() as at")
    await db.execute("grant select on private.test_clock to public")
    await db.execute(
        "create or replace function private.now() returns timestamptz language sql volatile"
        " set search_path = '' as $$ select c.at from private.test_clock c $$"
    )


async def move_clock(db: Connection, by: dt.timedelta) -> None:
    await db.execute("update private.test_clock set at = at + %s", (by,))
