"""Jobs: leased under an attempt id, which alone may settle them."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock, stop_clock

KINDS = ["images.fetch", "upkeep.partitions"]
LEASE = dt.timedelta(seconds=60)
STATES = "select id, state, attempt from queue.jobs order by id"


@pytest.fixture(autouse=True)
async def _still_clock(db: Connection) -> None:
    await stop_clock(db)


async def enqueue(db: Connection, **options: object) -> int:
    answer = await rpc(db, "enqueue_job", **{"p_kind": "images.fetch", **options})
    job_id: int = answer["job_id"]
    return job_id


async def claim(db: Connection, limit: int = 10, worker: str = "w") -> list[dict[str, Any]]:
    answer = await rpc(db, "claim_jobs", p_worker=worker, p_kinds=KINDS, p_limit=limit)
    jobs: list[dict[str, Any]] = answer["jobs"]
    return jobs


async def settle(db: Connection, jobs: list[dict[str, Any]], outcome: str, **more: object) -> dict[str, Any]:
    results = [
        {"job_id": job["job_id"], "attempt_id": job["attempt_id"], "outcome": outcome, **more} for job in jobs
    ]
    answer: dict[str, Any] = await rpc(db, "settle_jobs", p_results=results)
    return answer


def job_ids(jobs: list[dict[str, Any]]) -> list[int]:
    return [job["job_id"] for job in jobs]


async def test_a_job_travels_from_enqueue_to_done(db: Connection) -> None:
    job_id = await enqueue(db, p_payload={"image": 1})
    (job,) = await claim(db)
    created = dt.datetime.fromisoformat(job.pop("created_at"))
    assert created == await value(db, "select private.now()")
    assert job.pop("attempt_id")
    assert job == {
        "job_id": job_id, "kind": "images.fetch", "tenant_id": None, "payload": {"image": 1},
        "attempt": 1, "max_attempts": 10,
    }  # fmt: skip
    assert await rows(db, STATES) == [(job_id, "running", 1)]


async def test_done_deletes_and_only_the_first_settle_counts(db: Connection) -> None:
    await enqueue(db)
    jobs = await claim(db)
    assert await settle(db, jobs, "done") == {"settled": 1, "lost": []}
    assert await settle(db, jobs, "done") == {"settled": 0, "lost": [jobs[0]["attempt_id"]]}
    assert await rows(db, STATES) == []


async def test_only_due_jobs_of_the_kinds_asked_for_are_claimed_oldest_first(db: Connection) -> None:
    late = await enqueue(db, p_due_in_seconds=30)
    await enqueue(db, p_kind="somebody.elses")
    second, first = await enqueue(db, p_due_in_seconds=-5), await enqueue(db, p_due_in_seconds=-10)
    assert job_ids(await claim(db, limit=1)) == [first]
    assert job_ids(await claim(db)) == [second]
    answer = await rpc(db, "claim_jobs", p_worker="w", p_kinds=KINDS, p_limit=10)
    due = await value(db, "select private.now() + interval '30 seconds'")
    assert (answer["jobs"], dt.datetime.fromisoformat(answer["next_due_at"])) == ([], due)
    await move_clock(db, dt.timedelta(seconds=30))
    assert job_ids(await claim(db)) == [late]


async def test_concurrent_claims_share_the_jobs_out(database: Database, db: Connection) -> None:
    wanted = [await enqueue(db) for _ in range(40)]
    sessions = [await database.connect() for _ in range(4)]
    claimed = await asyncio.gather(*(claim(session, limit=15) for session in sessions))
    assert sorted(id_ for jobs in claimed for id_ in job_ids(jobs)) == wanted


# -- leases --------------------------------------------------------------------------------------------------


async def test_a_lease_that_ran_out_is_taken_over_and_the_former_holder_is_fenced_off(db: Connection) -> None:
    await enqueue(db)
    former = await claim(db, worker="former")
    await move_clock(db, LEASE - dt.timedelta(seconds=1))
    assert await claim(db, worker="successor") == []
    await move_clock(db, dt.timedelta(seconds=1))
    successor = await claim(db, worker="successor")
    assert (successor[0]["attempt"], successor[0]["job_id"]) == (2, former[0]["job_id"])
    for outcome in ("done", "retry", "snooze", "bury", "release"):
        assert await settle(db, former, outcome) == {"settled": 0, "lost": [former[0]["attempt_id"]]}
    assert await rpc(db, "extend_jobs", p_attempt_ids=[former[0]["attempt_id"]]) == {"held": []}
    assert await rows(db, STATES) == [(former[0]["job_id"], "running", 2)]
    assert (await settle(db, successor, "done"))["settled"] == 1


async def test_extending_keeps_a_job(db: Connection) -> None:
    await enqueue(db)
    (job,) = await claim(db)
    await move_clock(db, LEASE - dt.timedelta(seconds=1))
    assert await rpc(db, "extend_jobs", p_attempt_ids=[job["attempt_id"]]) == {"held": [job["attempt_id"]]}
    await move_clock(db, LEASE - dt.timedelta(seconds=1))
    assert await claim(db) == []


# -- outcomes ------------------------------------------------------------------------------------------------


async def test_a_retry_is_charged_and_due_later(db: Connection) -> None:
    job_id = await enqueue(db)
    await settle(db, await claim(db), "retry", in_seconds=5, error="timed out")
    assert await rows(db, STATES) == [(job_id, "waiting", 1)]
    assert await value(db, "select last_error from queue.jobs") == "timed out"
    assert await claim(db) == []
    await move_clock(db, dt.timedelta(seconds=5))
    assert (await claim(db))[0]["attempt"] == 2


@pytest.mark.parametrize("outcome", ["snooze", "release"])
async def test_snooze_and_release_are_not_charged(db: Connection, outcome: str) -> None:
    job_id = await enqueue(db)
    for _ in range(3):
        await settle(db, await claim(db), outcome, in_seconds=5)
        assert await rows(db, STATES) == [(job_id, "waiting", 0)]
        assert await claim(db) == []
        await move_clock(db, dt.timedelta(seconds=5))


async def test_used_up_attempts_bury_a_job_for_a_person(db: Connection) -> None:
    job_id = await enqueue(db)
    await db.execute("update queue.jobs set max_attempts = 2")
    for _ in range(2):
        await settle(db, await claim(db), "retry", error="still broken")
    assert await rows(db, STATES) == [(job_id, "buried", 2)]
    assert await value(db, "select last_error from queue.jobs") == "still broken"
    await move_clock(db, dt.timedelta(days=1))
    assert await claim(db) == []


async def test_a_job_whose_worker_died_on_the_last_attempt_is_buried(db: Connection) -> None:
    job_id = await enqueue(db)
    await db.execute("update queue.jobs set max_attempts = 1")
    jobs = await claim(db)
    await move_clock(db, LEASE)
    assert await claim(db) == []
    assert await rows(db, STATES) == [(job_id, "buried", 1)]
    assert "died or hung" in await value(db, "select last_error from queue.jobs")
    assert (await settle(db, jobs, "done"))["settled"] == 0


async def test_bury_keeps_the_job_and_its_reason(db: Connection) -> None:
    job_id = await enqueue(db)
    await settle(db, await claim(db), "bury", error="poison")
    assert await rows(db, STATES) == [(job_id, "buried", 1)]


async def test_an_unknown_outcome_refuses_the_whole_batch(db: Connection) -> None:
    await enqueue(db)
    jobs = await claim(db)
    good = {"job_id": jobs[0]["job_id"], "attempt_id": jobs[0]["attempt_id"], "outcome": "done"}
    for bad in ({**good, "outcome": "vanish"}, {**good, "outcome": None}):
        with pytest.raises(psycopg.Error, match=r"job\.outcome_unknown"):
            await rpc(db, "settle_jobs", p_results=[good, bad])
    assert await value(db, "select state from queue.jobs") == "running"


# -- keys ----------------------------------------------------------------------------------------------------


async def test_while_one_waits_its_unique_key_stands_for_all(db: Connection) -> None:
    first = await rpc(db, "enqueue_job", p_kind="images.fetch", p_unique_key="k")
    again = await rpc(db, "enqueue_job", p_kind="images.fetch", p_unique_key="k")
    assert (first["created"], again) == (True, {"job_id": first["job_id"], "created": False})
    await claim(db)
    third = await rpc(db, "enqueue_job", p_kind="images.fetch", p_unique_key="k")
    assert third["created"], "what runs already may have missed the news"


async def test_concurrent_twins_of_a_unique_key_are_one_job(database: Database) -> None:
    sessions = [await database.connect() for _ in range(8)]
    answers = await asyncio.gather(*(enqueue(session, p_unique_key="k") for session in sessions))
    assert len(set(answers)) == 1


async def test_jobs_of_one_unique_key_that_return_together_do_not_fail_the_batch(db: Connection) -> None:
    for _ in range(2):
        await enqueue(db, p_unique_key="k")
        await claim(db)
    running = await rows(db, "select id, attempt_id::text from queue.jobs order by id")
    jobs = [{"job_id": id_, "attempt_id": attempt} for id_, attempt in running]
    assert await settle(db, jobs, "retry") == {"settled": 2, "lost": []}
    assert await column(db, "select unique_key from queue.jobs order by id") == ["k", None]


async def test_a_job_that_returns_beside_a_new_twin_lets_go_of_its_key(
    db: Connection, other: Connection, third: Connection
) -> None:
    """Also if the twin commits only after the settle has looked for it."""
    await enqueue(db, p_unique_key="k")
    jobs = await claim(db)
    async with open_transaction(other):
        twin = await enqueue(other, p_unique_key="k")
        async with in_background(settle(db, jobs, "retry")) as settling:
            await waits_for_a_lock(third, db)
            await other.commit()
        assert settling.result() == {"settled": 1, "lost": []}
    keys = dict(await rows(db, "select id, unique_key from queue.jobs"))
    assert keys == {jobs[0]["job_id"]: None, twin: "k"}


async def test_a_serial_key_runs_one_job_at_a_time_in_order(db: Connection) -> None:
    first, second = [await enqueue(db, p_serial_key="product 1") for _ in range(2)]
    free = await enqueue(db)
    jobs = await claim(db)
    assert job_ids(jobs) == [first, free]
    assert await claim(db) == []
    await settle(db, jobs[:1], "done")
    assert job_ids(await claim(db)) == [second]


async def test_a_serial_key_holds_under_concurrent_claims(database: Database, db: Connection) -> None:
    for _ in range(6):
        await enqueue(db, p_serial_key="product 1")
    sessions = [await database.connect() for _ in range(6)]
    for _ in range(6):
        claimed = await asyncio.gather(*(claim(session) for session in sessions))
        running = [job for jobs in claimed for job in jobs]
        assert len(running) <= 1
        if not running:  # whoever held the key's lock saw nothing that the others left
            running = await claim(db)
        await settle(db, running, "done")
    assert await rows(db, STATES) == []


async def test_two_claims_at_once_never_take_two_of_a_key(db: Connection, other: Connection) -> None:
    for _ in range(2):
        await enqueue(db, p_serial_key="product 1")
    async with open_transaction(other):
        assert len(await claim(other)) == 1
        assert await claim(db) == [], "the other claim is not committed"
        await other.commit()
    assert await claim(db) == []


async def test_jobs_behind_a_serial_key_do_not_hold_up_others(db: Connection) -> None:
    for _ in range(5):
        await enqueue(db, p_serial_key="busy", p_due_in_seconds=-10)
    free = await enqueue(db)
    assert len(await claim(db, limit=3)) == 1
    assert job_ids(await claim(db, limit=3)) == [free]


async def test_a_buried_job_frees_its_serial_key(db: Connection) -> None:
    first, second = [await enqueue(db, p_serial_key="product 1") for _ in range(2)]
    await settle(db, await claim(db), "bury")
    assert job_ids(await claim(db)) == [second]
    assert await value(db, "select state from queue.jobs where id = %s", first) == "buried"
