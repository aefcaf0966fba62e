"""What instances of the edge adapter count: once, whatever becomes of calls and answers, and for ever."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any, LiteralString

import pytest
from psycopg import errors

from tests.databases import Connection, Database
from tests.sql.ask import rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_products
from tests.sql.keys import add_key, now
from tests.sql.test_api_requests import use

# What everybody writes first: sums that are added to.
NAIVE: LiteralString = """
create or replace function private.note_api_counts(p_instance jsonb) returns void
language sql volatile security definer set search_path = ''
as $$
  insert into private.api_counts as c (instance_id, name, count)
  select (p_instance ->> 'id')::uuid, n.key, n.value::bigint from jsonb_each_text(p_instance -> 'counts') n
  on conflict (instance_id, name) do update set count = c.count + excluded.count
$$
"""


async def hand_in(db: Connection, instance: uuid.UUID, *, cached: bool = True, **counts: int) -> None:
    sums = {"id": str(instance), "cached": cached, "counts": counts}
    await rpc(db, "note_api_use", p_uses="[]", p_instance=sums)


async def health(db: Connection) -> dict[str, Any]:
    answer: dict[str, Any] = await rpc(db, "adapter_health")
    return answer


async def counts(db: Connection) -> dict[str, int]:
    told: dict[str, int] = (await health(db))["counts"]
    return told


async def late_and_twice(db: Connection) -> dict[str, int]:
    """An instance hands in 3, 5 and 9: the second twice, the first last, as calls that hung."""
    instance = uuid.uuid4()
    for hits in (5, 5, 9, 3):
        await hand_in(db, instance, hit=hits, stampedes=2)
    return await counts(db)


async def test_a_call_that_comes_twice_or_late_counts_once(db: Connection) -> None:
    assert await late_and_twice(db) == {"hit": 9, "stampedes": 2}


async def test_sums_that_are_added_to_count_it_again(db: Connection) -> None:
    await db.execute(NAIVE)
    assert await late_and_twice(db) == {"hit": 22, "stampedes": 8}


async def test_instances_add_up_and_names_of_a_newer_adapter_are_left_out(db: Connection) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    await hand_in(db, one, ok=7, limited=1, miss=0)
    await hand_in(db, two, ok=5, origin_refused=2, invented=4)
    assert await counts(db) == {"ok": 12, "limited": 1, "origin_refused": 2}


async def test_who_hands_nothing_in_is_no_instance(db: Connection) -> None:
    assert await rpc(db, "note_api_use", p_uses="[]") == {"noted": 0}
    assert (await health(db))["instances"] == {"redis": 0, "none": 0}


async def test_instances_are_told_apart_by_their_cache_while_they_are_heard(db: Connection) -> None:
    await stop_clock(db)
    one, two, third = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    await hand_in(db, one, ok=1)
    await hand_in(db, two, ok=1, cached=False)
    await move_clock(db, dt.timedelta(minutes=4))
    await hand_in(db, third, ok=1)
    await hand_in(db, one, ok=1)
    assert (await health(db))["instances"] == {"redis": 2, "none": 1}
    await move_clock(db, dt.timedelta(minutes=2))
    assert (await health(db))["instances"] == {"redis": 2, "none": 0}
    await move_clock(db, dt.timedelta(minutes=5))
    assert (await health(db))["instances"] == {"redis": 0, "none": 0}


async def test_sums_stay_when_instances_and_tenants_go(db: Connection, company: Company) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    old, new = uuid.uuid4(), uuid.uuid4()
    sums = {"id": str(old), "cached": True, "counts": {"ok": 7, "hit": 2}}
    await rpc(db, "note_api_use", p_uses=[await use(db, key)], p_instance=sums)
    await move_clock(db, dt.timedelta(minutes=119))
    await hand_in(db, new, ok=3)
    await rpc(db, "forget_api_requests")
    assert await value(db, "select count(*) from private.api_instances") == 2
    for _ in range(2):
        await move_clock(db, dt.timedelta(minutes=2))
        await rpc(db, "forget_api_requests")
        assert await counts(db) == {"ok": 10, "hit": 2}
    assert await value(db, "select count(*) from private.api_instances") == 1
    await move_clock(db, dt.timedelta(hours=3))
    await db.execute("delete from public.tenants")
    await rpc(db, "forget_api_requests")
    assert await counts(db) == {"ok": 10, "hit": 2}
    assert await value(db, "select count(*) from private.api_counts") == 2, "one row a name remains"


async def test_late_twins_of_one_instance_meet_without_a_deadlock(db: Connection, database: Database) -> None:
    instance = uuid.uuid4()
    sessions = [await database.connect() for _ in range(6)]
    names = ("ok", "hit", "miss", "stampedes", "early")

    async def tell(session: Connection, turn: int) -> None:
        for n in range(30):
            step = (turn + n) % len(names)
            higher = dict.fromkeys(names[step:] + names[:step], 6 * n + turn + 1)
            sums = {"id": str(instance), "cached": True, "counts": higher}
            await rpc(session, "note_api_use", p_uses="[]", p_instance=sums)

    await asyncio.gather(*(tell(session, n) for n, session in enumerate(sessions)))
    assert await counts(db) == dict.fromkeys(names, 180)


async def test_uses_are_noted_with_the_sums_or_not_at_all(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    broken = {"id": "nobody", "cached": True, "counts": {"ok": 1}}
    with pytest.raises(errors.InvalidTextRepresentation):
        await rpc(db, "note_api_use", p_uses=[await use(db, key)], p_instance=broken)
    assert await value(db, "select count(*) from public.api_key_usage") == 0


async def test_changes_that_redis_was_not_told_are_counted_until_it_is(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    await rpc(db, "dispatch_outbox")
    await rpc(db, "read_api_key", p_api_key_id=key.id, p_cached=True)
    assert (await health(db))["invalidations"] == {"waiting": 0, "oldest_seconds": 0}
    began = await now(db)
    for seconds in (0, 40):
        await move_clock(db, dt.timedelta(seconds=seconds))
        await add_products(db, company, 1, f"MUG-{seconds}")
        await rpc(db, "dispatch_outbox")
    assert (await now(db)) - began == dt.timedelta(seconds=40)
    assert (await health(db))["invalidations"] == {"waiting": 1, "oldest_seconds": 40}, (
        "since the first of them"
    )
    # what is given up was not told either
    await db.execute("update queue.jobs set state = 'buried' where kind = 'cache.invalidate'")
    assert (await health(db))["invalidations"]["waiting"] == 1
    await db.execute("delete from queue.jobs where kind = 'cache.invalidate'")
    assert (await health(db))["invalidations"]["waiting"] == 0
