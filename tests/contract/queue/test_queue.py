"""What every `JobQueue` promises. The queue in memory counts as a double because it passes this too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.contract.queue.worlds import DatabaseWorld, MemoryWorld, World
from tests.stack.addresses import Addresses
from worker.config import Settings
from worker.engine.job import (
    AttemptId,
    Bury,
    Done,
    Job,
    NewJob,
    Outcome,
    RawPayload,
    Release,
    Result,
    Retry,
    Snooze,
)
from worker.gateway.client import SupabaseRpc
from worker.gateway.jobs import RpcJobQueue

LEASE = timedelta(seconds=30)


@pytest.fixture(params=["memory", "database"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    addresses: Addresses = request.getfixturevalue("addresses")
    admin_db_url: str = request.getfixturevalue("admin_db_url")
    settings = Settings.model_validate(
        {"supabase_url": addresses.api_url, "SUPABASE_SECRET_KEY": addresses.secret_key}
    )
    async with (
        SupabaseRpc(settings) as rpc,
        await psycopg.AsyncConnection.connect(admin_db_url, autocommit=True) as connection,
    ):
        yield DatabaseWorld(RpcJobQueue(rpc, worker="contract"), connection)


async def enqueue(world: World, **more: Any) -> bool:
    return await world.queue.enqueue(NewJob(world.kind, more.pop("payload", {}), **more))


async def claim(world: World, limit: int = 10) -> list[Job[RawPayload]]:
    return list((await world.queue.claim([world.kind], limit=limit, lease=LEASE)).jobs)


async def settle(world: World, job: Job[RawPayload], outcome: Outcome | Release) -> bool:
    settlement = await world.queue.settle([Result(job.job_id, job.attempt_id, outcome)])
    return settlement.settled == 1 and not settlement.lost


async def test_a_job_is_claimed_as_it_was_queued_and_by_nobody_else(world: World) -> None:
    assert await enqueue(world, payload={"text": "héllo", "n": 1.5})
    (job,) = await claim(world)
    assert (job.kind, job.payload, job.tenant_id) == (world.kind, {"text": "héllo", "n": 1.5}, None)
    assert (job.attempt, job.max_attempts) == (1, 10)
    assert job.created_at.tzinfo is not None
    assert await claim(world) == []


async def test_only_the_kinds_asked_for_and_up_to_the_limit_oldest_first(world: World) -> None:
    for _ in range(3):
        await enqueue(world)
    assert (await world.queue.claim(["test.other"], limit=5, lease=LEASE)).jobs == []
    first = await claim(world, limit=2)
    second = await claim(world, limit=2)
    ids = [job.job_id for job in [*first, *second]]
    assert (len(first), len(second)) == (2, 1)
    assert ids == sorted(ids)


async def test_claims_at_the_same_time_share_the_jobs_out(world: World) -> None:
    for _ in range(20):
        await enqueue(world)
    claims = await asyncio.gather(*(claim(world, limit=5) for _ in range(6)))
    rest = await claim(world, limit=20)
    ids = [job.job_id for jobs in [*claims, rest] for job in jobs]
    assert len(ids) == len(set(ids)) == 20


async def test_done_is_gone(world: World) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    assert await settle(world, job, Done())
    assert await world.state(job.job_id) is None


async def test_settling_twice_changes_nothing_the_second_time(world: World) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    result = Result(job.job_id, job.attempt_id, Retry(timedelta(seconds=5), "failed"))
    first, second = await world.queue.settle([result]), await world.queue.settle([result])
    assert (first.settled, second.settled) == (1, 0)
    assert second.lost == {job.attempt_id}
    assert await world.state(job.job_id) == ("waiting", 1, "failed")


async def test_a_retry_charges_and_waits_for_its_time(world: World) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    assert await settle(world, job, Retry(timedelta(seconds=60), "no \x00 luck"))
    empty = await world.queue.claim([world.kind], limit=5, lease=LEASE)
    assert empty.jobs == []
    assert empty.next_due_at is not None
    await world.pass_time(timedelta(seconds=61))
    (again,) = await claim(world)
    assert (again.job_id, again.attempt) == (job.job_id, 2)
    assert again.attempt_id != job.attempt_id


@pytest.mark.parametrize(
    "outcome", [Snooze(timedelta(0), "Supabase is away"), Release()], ids=["snooze", "release"]
)
async def test_snooze_and_release_charge_nothing(world: World, outcome: Outcome | Release) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    assert await settle(world, job, outcome)
    await world.pass_time(timedelta(seconds=1))
    (again,) = await claim(world)
    assert (again.job_id, again.attempt) == (job.job_id, 1)


async def test_a_buried_job_is_kept_and_never_claimed(world: World) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    assert await settle(world, job, Bury("poison"))
    await world.pass_time(timedelta(days=1))
    assert await claim(world) == []
    assert await world.state(job.job_id) == ("buried", 1, "poison")


async def test_a_lease_that_ran_out_lets_another_take_over_and_fences_the_first(world: World) -> None:
    await enqueue(world)
    (dead,) = await claim(world)
    await world.pass_time(LEASE + timedelta(seconds=1))
    (successor,) = await claim(world)
    assert (successor.job_id, successor.attempt) == (dead.job_id, 2)
    assert not await settle(world, dead, Done())
    assert await world.state(dead.job_id) is not None
    assert await settle(world, successor, Done())


async def test_an_extended_lease_holds_and_a_lost_attempt_is_missing_from_the_answer(world: World) -> None:
    await enqueue(world)
    (job,) = await claim(world)
    stranger = AttemptId("00000000-0000-0000-0000-000000000000")
    await world.pass_time(timedelta(seconds=20))
    assert await world.queue.extend([job.attempt_id, stranger], lease=LEASE) == {job.attempt_id}
    await world.pass_time(timedelta(seconds=20))
    assert await claim(world) == []


async def test_a_unique_key_stands_for_all_while_it_waits_and_no_longer(world: World) -> None:
    key = f"{world.kind}.once"
    assert await enqueue(world, unique_key=key)
    assert not await enqueue(world, unique_key=key)
    (job,) = await claim(world)
    assert await enqueue(world, unique_key=key), "one that runs may have missed what the new one is for"
    assert await settle(world, job, Done())


async def test_one_at_a_time_per_serial_key(world: World) -> None:
    for _ in range(3):
        await enqueue(world, serial_key=f"{world.kind}.serial")
    await enqueue(world)
    taken = await claim(world)
    assert len(taken) == 2
    assert await claim(world) == []
    serial = min(taken, key=lambda job: job.job_id)
    assert await settle(world, serial, Done())
    assert len(await claim(world)) == 1


async def test_a_delayed_job_is_announced_and_claimed_in_its_time(world: World) -> None:
    await enqueue(world, due_in=timedelta(seconds=90))
    answer = await world.queue.claim([world.kind], limit=1, lease=LEASE)
    assert answer.jobs == []
    assert answer.next_due_at is not None
    await world.pass_time(timedelta(seconds=91))
    assert len(await claim(world)) == 1


async def test_a_retry_of_the_last_attempt_buries(world: World) -> None:
    await enqueue(world)
    for _ in range(10):
        (job,) = await claim(world)
        assert await settle(world, job, Retry(timedelta(0), "again"))
        await world.pass_time(timedelta(seconds=1))
    assert await claim(world) == []
    assert await world.state(job.job_id) == ("buried", 10, "again")


async def test_a_batch_settles_together(world: World) -> None:
    for _ in range(4):
        await enqueue(world)
    jobs = await claim(world)
    outcomes: list[Outcome | Release] = [Done(), Retry(timedelta(seconds=5), "x"), Bury("y"), Release()]
    results = [Result(job.job_id, job.attempt_id, o) for job, o in zip(jobs, outcomes, strict=True)]
    settlement = await world.queue.settle(results)
    assert (settlement.settled, settlement.lost) == (4, frozenset())
    states = [await world.state(job.job_id) for job in jobs]
    assert [state and state[0] for state in states] == [None, "waiting", "buried", "waiting"]
