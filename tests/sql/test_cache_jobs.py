"""Dispatch queues a job for each tenant whose cached answers show something that changed."""

from __future__ import annotations

import datetime as dt
from typing import Any, LiteralString

import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.bell import forget_rings, hang_bell, rings
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_endpoint, add_product, add_products, found_company, rename
from tests.sql.keys import Key, add_key, changed, manage, place
from tests.sql.lane_worker import LaneWorker

JOBS: LiteralString = (
    "select tenant_id from queue.jobs where kind = 'cache.invalidate' and state = 'waiting' order by id"
)
NAIVE: LiteralString = """
create or replace function private.queue_invalidations(p_tenant_ids uuid[]) returns integer
language sql volatile security definer set search_path = ''
as $$
  with new as (
    insert into queue.jobs (kind, tenant_id, payload, unique_key, serial_key)
    select 'cache.invalidate', t, jsonb_build_object('tenant_id', t), 'cache:' || t, 'cache:' || t
    from unnest(p_tenant_ids) t
    on conflict (unique_key) where state = 'waiting' and unique_key is not null do nothing
    returning 1
  )
  select count(*)::integer from new
$$
"""


async def cached(db: Connection, company: Company, key: Key | None = None) -> Key:
    key = key or await add_key(db, company)
    await rpc(db, "dispatch_outbox")
    await rpc(db, "read_api_key", p_api_key_id=key.id, p_cached=True)
    return key


async def claim(db: Connection) -> list[dict[str, Any]]:
    answer = await rpc(db, "claim_jobs", p_worker="one", p_kinds=["cache.invalidate"], p_limit=10)
    jobs: list[dict[str, Any]] = answer["jobs"]
    return jobs


async def test_a_tenant_that_nobody_caches_gets_no_job(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    await rpc(db, "read_api_key", p_api_key_id=key.id)
    await add_product(db, company)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 0
    assert await column(db, JOBS) == []


async def test_a_cached_tenant_gets_one_job_while_it_waits(db: Connection, company: Company) -> None:
    stranger = await found_company(db, "other")
    await cached(db, company)
    await add_product(db, stranger)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 0
    product = await add_product(db, company)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 1
    await rename(db, product, "New")
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 0, "the one that waits stands for both"
    [job] = await claim(db)
    assert job["payload"] == {"tenant_id": str(company.tenant_id)}
    await rename(db, product, "Newer")
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 1, "the one that runs may have looked already"
    assert await claim(db) == [], "one at a time"
    done = {"attempt_id": job["attempt_id"], "outcome": "done"}
    await rpc(db, "settle_jobs", p_results=[done])
    assert len(await claim(db)) == 1


@pytest.mark.parametrize("quiet", ["user", "endpoint"])
async def test_what_no_cached_answer_shows_queues_nothing(
    db: Connection, company: Company, quiet: str
) -> None:
    await cached(db, company)
    if quiet == "user":
        await db.execute("update public.tenants set name = 'New'")
    else:
        async with acting_as(db, company.owner):
            await value(
                db, "select public.create_webhook_endpoint(%s, 'https://example.com/')", company.tenant_id
            )
    dispatched = await rpc(db, "dispatch_outbox")
    assert (dispatched["events"], dispatched["jobs"]) == (1, 0)


@pytest.mark.parametrize("command", ["change_api_key", "rotate_api_key", "revoke_api_key"])
async def test_a_change_of_a_key_queues_the_job_and_is_told(
    db: Connection, company: Company, command: str
) -> None:
    key = await cached(db, company)
    epoch, after = await place(db, company)
    arguments = {"p_changes": {"scopes": ["products.read"]}} if command == "change_api_key" else {}
    await manage(db, company, command, key, **arguments)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 1
    answer = await changed(db, company, epoch, after)
    assert (answer["tags"], answer["keys"]) == ({}, {str(key.id): answer["seq"]})


async def test_several_tenants_in_one_slice_get_a_job_each(db: Connection, company: Company) -> None:
    companies = [company, *[await found_company(db, f"shop-{n}") for n in range(3)]]
    for each in companies[:3]:
        await cached(db, each)
    for each in companies:
        await add_products(db, each, 2)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 3
    assert set(await column(db, JOBS)) == {each.tenant_id for each in companies[:3]}


async def test_a_job_is_not_claimed_before_what_it_stands_for_is_committed(
    db: Connection, other: Connection, company: Company
) -> None:
    """A dispatch lets one that waits stand for its events too: whoever claimed it now would miss them."""
    await cached(db, company)
    product = await add_product(db, company)
    await rpc(db, "dispatch_outbox")
    await rename(db, product, "New")
    async with open_transaction(other):
        assert (await rpc(other, "dispatch_outbox"))["jobs"] == 0
        assert await claim(db) == []
        await other.commit()
    [job] = await claim(db)
    assert job["attempt"] == 1


async def test_a_job_that_is_being_claimed_stands_for_nothing_more(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    await cached(db, company)
    product = await add_product(db, company)
    await rpc(db, "dispatch_outbox")
    await rename(db, product, "New")
    async with open_transaction(other):
        assert len(await claim(other)) == 1
        async with in_background(rpc(db, "dispatch_outbox")) as dispatching:
            await waits_for_a_lock(third, db)
            await other.commit()
        assert dispatching.result()["jobs"] == 1
    assert await column(third, JOBS) == [company.tenant_id]


async def test_a_mark_lasts_a_day_and_is_written_twice_a_day(db: Connection, company: Company) -> None:
    await stop_clock(db)
    key = await cached(db, company)
    mark = "select until - private.now(), xmin::text from private.cached_tenants"
    [(left, written)] = await rows(db, mark)
    assert left.total_seconds() == 86_400
    await cached(db, company, key)
    assert (await rows(db, mark))[0][1] == written
    await move_clock(db, left / 2)
    await cached(db, company, key)
    assert (await rows(db, mark))[0][0] == left
    await move_clock(db, left)
    await add_product(db, company)
    assert (await rpc(db, "dispatch_outbox"))["jobs"] == 0
    await move_clock(db, left / 24)
    await rpc(db, "forget_api_requests")
    assert await rows(db, mark) == []


async def test_a_change_that_a_dispatch_has_in_hand_is_seen_by_whoever_marks_the_tenant(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    """That dispatch cannot see the mark and queues no job, so the key must be read after it: else what it is
    just changing would be kept, with no word to come."""
    key = await add_key(db, company)
    await rpc(db, "dispatch_outbox")
    await manage(db, company, "rotate_api_key", key, p_overlap="0")
    async with open_transaction(other):
        assert (await rpc(other, "dispatch_outbox"))["jobs"] == 0
        reading = rpc(db, "read_api_key", p_api_key_id=key.id, p_cached=True)
        async with in_background(reading) as read:
            await waits_for_a_lock(third, db)
            await other.commit()
    _, seq = await place(third, company)
    assert read.result()["seq"] == seq
    assert read.result()["secrets"] != [key.secret]


async def test_the_place_of_a_key_is_before_what_it_tells(
    db: Connection, other: Connection, company: Company
) -> None:
    """What changes while it is read has a later number than the answer says, so it is read again."""
    key = await cached(db, company)
    await manage(db, company, "change_api_key", key, p_changes={"name": "Till 2"})
    record = await rpc(db, "read_api_key", p_api_key_id=key.id)
    await rpc(other, "dispatch_outbox")
    answer = await changed(db, company, record["epoch"], record["seq"])
    assert answer["keys"][str(key.id)] > record["seq"]


async def test_without_holding_the_job_that_waits_it_is_claimed_too_early(
    db: Connection, other: Connection, company: Company
) -> None:
    """The look of the test above, at what everybody writes first: insert, on conflict do nothing."""
    await db.execute(NAIVE)
    await cached(db, company)
    product = await add_product(db, company)
    await rpc(db, "dispatch_outbox")
    await rename(db, product, "New")
    async with open_transaction(other):
        await rpc(other, "dispatch_outbox")
        assert len(await claim(db)) == 1, "and it cannot see what the other is about to commit"
        await other.commit()
    assert await column(db, JOBS) == []


async def test_the_worker_is_rung_for_a_job(db: Connection, database: Database, company: Company) -> None:
    await hang_bell(database)
    await cached(db, company)
    await add_product(db, company)
    await forget_rings(db)
    await rpc(db, "dispatch_outbox")
    assert await rings(db) == [{"lane": "jobs"}]


async def test_whoever_gets_deliveries_too_is_told_of_everything(
    db: Connection, database: Database, company: Company
) -> None:
    """A transaction rings once: a ring for jobs alone would leave another worker's deliveries to its poll."""
    await hang_bell(database)
    await add_endpoint(db, company)
    await cached(db, company)
    await LaneWorker(db, "another").lease()
    await add_product(db, company)
    await forget_rings(db)
    await rpc(db, "dispatch_outbox", p_worker="one")
    assert await rings(db) == [{"lane": "all"}]


async def test_who_signs_in_waits_for_no_dispatch_while_the_mark_is_good(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    await stop_clock(db)
    key = await cached(db, company)
    await move_clock(db, dt.timedelta(hours=13))
    async with open_transaction(other):
        await rpc(other, "dispatch_outbox")
        await rpc(db, "read_api_key", p_api_key_id=key.id, p_cached=True)
    left = "select until - private.now() > interval '23 hours' from private.cached_tenants"
    assert await value(db, left), "it was prolonged"
    await move_clock(db, dt.timedelta(hours=25))
    async with open_transaction(other):
        await rpc(other, "dispatch_outbox")
        read = rpc(db, "read_api_key", p_api_key_id=key.id, p_cached=True)
        async with in_background(read) as waiting:
            await waits_for_a_lock(third, db)
            assert not waiting.done(), "a slice that sees no mark is waited for"
            await other.commit()


@pytest.mark.parametrize("plan", ["enable_nestloop", "enable_hashjoin"])
@pytest.mark.parametrize("claimed", [1, -1])
@pytest.mark.parametrize("order", [1, -1])
async def test_jobs_that_return_meet_a_dispatch_that_queues_them_anew(
    db: Connection,
    other: Connection,
    third: Connection,
    company: Company,
    order: int,
    claimed: int,
    plan: LiteralString,
) -> None:
    """In another order than dispatch's, each would wait for a key of the other."""
    first, second = sorted([company, await found_company(db, "other")], key=lambda shop: str(shop.tenant_id))
    jobs: dict[str, dict[str, Any]] = {}
    for shop in (first, second)[::claimed]:
        await cached(db, shop)
        await add_product(db, shop)
        await rpc(db, "dispatch_outbox")
        jobs |= {job["payload"]["tenant_id"]: job for job in await claim(db)}
    returned = [
        {"attempt_id": jobs[str(shop.tenant_id)]["attempt_id"], "outcome": "snooze", "in_seconds": 1}
        for shop in (first, second)
    ]
    await db.execute(f"set {plan} = off".encode())  # whatever the planner chooses
    async with open_transaction(other):
        await value(other, "select private.queue_invalidations(array[%s]::uuid[])", first.tenant_id)
        settling = rpc(db, "settle_jobs", p_results=returned[::order])
        async with in_background(settling) as waiting:
            await waits_for_a_lock(third, db)
            await value(other, "select private.queue_invalidations(array[%s]::uuid[])", second.tenant_id)
            await other.commit()
        assert waiting.result()["settled"] == 2
    assert sorted(map(str, await column(db, JOBS))) == sorted(
        [str(first.tenant_id), str(second.tenant_id)] * 2
    ), "the new ones have the keys, the old ones come back without"
