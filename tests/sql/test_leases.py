"""Leases of webhook lanes: who holds which, until when, and how they change hands."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.databases import Connection
from tests.sql.ask import in_background, open_transaction, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_endpoint
from tests.sql.lane_worker import LEASE, LaneWorker, owe


async def test_a_lease_tells_all_about_its_lanes(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    worker = LaneWorker(db, "first")
    answer = await worker.lease(p_seconds=30)
    now = await value(db, "select private.now()")
    assert dt.datetime.fromisoformat(answer["expires_at"]) == now + LEASE
    assert answer["surplus"] == 0
    assert answer["lanes"] == [[endpoint["lane_id"], 1]]
    assert await worker.describe(endpoint["lane_id"], 999_999) == [
        {
            "lane_id": endpoint["lane_id"],
            "endpoint_id": endpoint["id"],
            "tenant_id": str(company.tenant_id),
            "url": "https://example.com/hook",
            "secrets": [{"secret": endpoint["secret"], "expires_at": None}],
            "status": "active",
            "headers": {},
            "timeout_seconds": 15,
            "max_concurrency": 10,
            "rate_limit_per_second": None,
            "ordered": False,
            "expires_after_hours": 72,
            "version": 1,
        }
    ]


async def test_lanes_are_told_again_only_when_something_changed(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    worker = LaneWorker(db, "first")
    first = await worker.lease()
    assert (await worker.lease(p_known=first["known"]))["lanes"] is None
    await db.execute(
        "update public.webhook_endpoints set rate_limit_per_second = 5 where id = %s", (endpoint["id"],)
    )
    changed = await worker.lease(p_known=first["known"])
    assert changed["lanes"] == [[endpoint["lane_id"], 2]]
    await add_endpoint(db, company)
    assert len((await worker.lease(p_known=changed["known"]))["lanes"]) == 2


async def test_lanes_of_others_are_not_described(
    db: Connection, other: Connection, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    stranger = LaneWorker(other, "second")
    await stranger.lease()
    assert await stranger.describe(endpoint["lane_id"]) == []
    assert len(await worker.describe(endpoint["lane_id"])) == 1


async def test_extending_keeps_the_token_and_moves_the_end(db: Connection, worker: LaneWorker) -> None:
    token = worker.token
    await move_clock(db, LEASE - dt.timedelta(seconds=1))
    await worker.lease()
    await move_clock(db, LEASE - dt.timedelta(seconds=1))
    assert (await worker.lease())["token"] == token
    assert not (await worker.read())["stale"]


async def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_over(
    db: Connection, worker: LaneWorker
) -> None:
    token = worker.token
    await move_clock(db, LEASE)
    assert (await worker.read(after=7)) == {
        "stale": True,
        "after": 7,
        "more": False,
        "deliveries": [],
        "next_retry_at": None,
    }
    answer = await worker.lease()
    assert answer["token"] != token
    assert len(answer["lanes"]) == 1


async def test_another_takes_over_only_after_the_end(
    db: Connection, other: Connection, worker: LaneWorker
) -> None:
    successor = LaneWorker(other, "second")
    assert await successor.lanes() == set()
    await move_clock(db, LEASE)
    assert len(await successor.lanes()) == 1
    assert await worker.lanes() == set()


async def test_a_token_is_its_workers_own(other: Connection, worker: LaneWorker) -> None:
    thief = LaneWorker(other, "thief")
    thief.token = worker.token
    assert await thief.lanes() == set()
    assert thief.token != worker.token


async def test_a_second_worker_gets_its_share_by_surplus(
    db: Connection, other: Connection, company: Company, worker: LaneWorker
) -> None:
    for _ in range(4):
        await add_endpoint(db, company)
    assert len(await worker.lanes()) == 5
    second = LaneWorker(other, "second")
    assert await second.lanes() == set()
    answer = await worker.lease()
    assert answer["surplus"] == 2
    spare = [lane_id for lane_id, _ in answer["lanes"]][:2]
    assert await rpc(db, "release_lanes", p_token=worker.token, p_lane_ids=spare) == {"released": 2}
    assert await second.lanes() == set(spare)
    assert (await worker.lease())["surplus"] == 0
    assert (await second.lease())["surplus"] == 0


async def test_released_lanes_are_free_at_once(db: Connection, other: Connection, worker: LaneWorker) -> None:
    assert await rpc(db, "release_lanes", p_token=worker.token) == {"released": 1}
    assert len(await LaneWorker(other, "second").lanes()) == 1
    assert (await worker.read())["stale"]
    assert await rpc(db, "release_lanes", p_token=worker.token) == {"released": 0}


async def test_a_limit_bounds_what_is_taken(db: Connection, company: Company, worker: LaneWorker) -> None:
    for _ in range(4):
        await add_endpoint(db, company)
    assert len(await worker.lanes(p_limit=3)) == 3


async def test_releasing_while_settling_waits_and_does_not_deadlock(
    db: Connection, other: Connection, third: Connection, company: Company, worker: LaneWorker
) -> None:
    """Settling takes the lease first and then the lanes: releasing must go the same way."""
    await owe(db, company)
    found = await worker.deliveries()
    async with open_transaction(third):
        await third.execute("select from queue.lanes for update")
        async with in_background(rpc(other, "release_lanes", p_token=worker.token)) as releasing:
            await waits_for_a_lock(third, other)
            async with in_background(worker.settle(found, "delivered")) as settling:
                await waits_for_a_lock(third, db)
                await third.rollback()
        assert releasing.result() == {"released": 1}
        assert settling.result()["stale"]
