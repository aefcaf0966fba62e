"""The runner of jobs: slots, outcomes, leases, the fence, the two-step stop."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.engine.clock import ManualClock, settle
from tests.engine.conftest import MakeRunner, running
from tests.engine.handlers import Gate, Recorder
from tests.engine.memory import MemoryQueue
from worker.engine.condition import Condition
from worker.engine.job import Bury, Done, JobId, NewJob, Outcome, Release, Retry, Snooze
from worker.engine.metrics import Metrics
from worker.engine.ports import Claim
from worker.errors import BadAnswer, Busy, Refused, Unreachable

FIRST = JobId(1)


def job(kind: str = "test.note", **more: object) -> NewJob:
    return NewJob(kind, more.pop("payload", {}), **more)  # type: ignore[arg-type]  # checked by the test


async def test_a_job_is_done_once_and_gone(
    make_runner: MakeRunner, queue: MemoryQueue, metrics: Metrics
) -> None:
    await queue.enqueue(job(payload={"text": "hello"}))
    handler = Recorder()
    async with running(make_runner(handler)):
        await settle()
    assert [seen.payload.text for seen in handler.seen] == ["hello"]
    assert queue.rows == {}
    assert b'pms_jobs_settled_total{kind="test.note",outcome="done"} 1.0' in metrics.render()


async def test_a_job_delivered_twice_is_run_twice_and_settled_once(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    await queue.enqueue(job())
    await queue.claim(["test.note"], limit=1, lease=timedelta(seconds=5))  # a worker that dies with it
    handler = Recorder()
    async with running(make_runner(handler)):
        await clock.advance(6)
    assert [seen.attempt for seen in handler.seen] == [2]
    assert len(queue.settled) == 1


@pytest.mark.parametrize(
    ("raised", "attempt_after"),
    [(ValueError("nope"), 1), (Unreachable("away"), 0), (Busy("deadlock"), 0)],
    ids=["its own fault", "Supabase away", "a deadlock"],
)
async def test_a_transient_fault_is_tried_again_and_ours_cost_no_attempt(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, raised: Exception, attempt_after: int
) -> None:
    await queue.enqueue(job())
    handler = Recorder(answers=[raised])
    async with running(make_runner(handler, poll=1)):
        await settle()
        assert queue.rows[FIRST].attempt == attempt_after
        assert queue.rows[FIRST].error is not None
        await clock.advance(15)
    assert queue.rows == {}
    assert len(handler.seen) == 2


@pytest.mark.parametrize("payload", [{"unknown": 1}, {"text": {"no": "text"}}])
async def test_a_poison_payload_is_buried_and_never_reaches_the_handler(
    make_runner: MakeRunner, queue: MemoryQueue, payload: dict[str, object]
) -> None:
    await queue.enqueue(job(payload=payload))
    handler = Recorder()
    async with running(make_runner(handler)):
        await settle()
    assert handler.seen == []
    assert queue.rows[FIRST].state == "buried"
    assert "PayloadError" in (queue.rows[FIRST].error or "")


@pytest.mark.parametrize(
    "outcome",
    [Done(), Retry(timedelta(seconds=3), "later"), Snooze(timedelta(seconds=3)), Bury("never")],
    ids=["done", "retry", "snooze", "bury"],
)
async def test_a_decision_is_written_back_as_it_is(
    make_runner: MakeRunner, queue: MemoryQueue, outcome: Outcome
) -> None:
    await queue.enqueue(job())
    async with running(make_runner(Recorder(answers=[outcome]))):
        await settle()
    assert [result.outcome for result in queue.settled] == [outcome]


async def test_it_claims_for_free_slots_only(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    for _ in range(5):
        await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate, slots=2)):
        await clock.advance(120)
        assert len(gate.inside) == 2
        assert queue.claims == [2]
        gate.opened.set()
        await settle()
    assert queue.rows == {}
    assert max(gate.most) == 2
    assert all(limit in (1, 2) for limit in queue.claims)


async def test_the_next_of_a_serial_key_runs_as_soon_as_the_first_is_settled(
    make_runner: MakeRunner, queue: MemoryQueue
) -> None:
    gate = Gate()
    for _ in range(3):
        await queue.enqueue(job("test.gate", serial_key="one"))
    async with running(make_runner(gate, poll=3_600)):
        await settle()
        assert len(gate.inside) == 1
        gate.opened.set()
        await settle()
    assert queue.rows == {}
    assert max(gate.most) == 1


async def test_a_delayed_job_is_claimed_when_it_falls_due_not_at_the_poll(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    await queue.enqueue(job(due_in=timedelta(seconds=7)))
    handler = Recorder()
    async with running(make_runner(handler, poll=60)):
        await clock.advance(6.9)
        assert handler.seen == []
        await clock.advance(0.2)
    assert len(handler.seen) == 1


async def test_leases_of_long_jobs_are_extended(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate, lease=30)):
        await clock.advance(300)
        assert queue.rows[FIRST].due_at > clock.now()
        assert queue.rows[FIRST].attempt == 1
        gate.opened.set()
        await settle()
    assert queue.rows == {}


async def test_leases_that_cannot_be_extended_are_told_once(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend, gate = queue.extend, Gate()

    async def refuse(*_args: object, **_kwargs: object) -> None:
        raise Refused("lease.too_long", code="PT422")

    monkeypatch.setattr(queue, "extend", refuse)
    await queue.enqueue(job("test.gate"))
    with capture_logs() as logs:
        async with running(make_runner(gate, lease=3_600)):
            await clock.advance(3_000)
            monkeypatch.setattr(queue, "extend", extend)
            await clock.advance(1_200)
    told = [(line["what"], line["event"]) for line in logs if line.get("what") == "part.extend"]
    assert told == [
        ("part.extend", "part.working"),
        ("part.extend", "part.failing"),
        ("part.extend", "part.working"),
    ]


async def test_a_job_that_was_taken_over_is_abandoned_and_not_settled(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate, lease=30)):
        await settle()
        queue.take_over(FIRST)
        await clock.advance(11)
        assert len(gate.cancelled) == 1
    assert queue.settled == []
    assert FIRST in queue.rows


async def test_a_result_that_comes_too_late_changes_nothing(
    make_runner: MakeRunner, queue: MemoryQueue, metrics: Metrics
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate)):
        await settle()
        queue.take_over(FIRST)
        gate.opened.set()
        await settle()
    assert FIRST in queue.rows
    assert b'outcome="lost"} 1.0' in metrics.render()


async def test_an_outage_loses_no_result_and_ends_nothing(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, condition: Condition
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate, lease=3_600)):
        await settle()
        queue.faults.down = True
        gate.opened.set()
        await clock.advance(120)
        assert queue.settled == []
        assert not condition.holds
        queue.faults.down = False
        await clock.advance(10)
        assert condition.holds
    assert queue.rows == {}


async def test_one_result_that_is_refused_does_not_hold_up_the_others(
    make_runner: MakeRunner, queue: MemoryQueue
) -> None:
    gate = Gate()
    for _ in range(3):
        await queue.enqueue(job("test.gate"))
    async with running(make_runner(gate)):
        await settle()
        # the batch is refused, then its first result alone
        queue.faults.planned = [Refused("bad", code="22P05"), Refused("bad", code="22P05")]
        gate.opened.set()
        await settle()
    assert len(queue.settled) == 2


async def test_results_that_cannot_be_written_are_told_once_though_claims_work(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(_results: object) -> None:
        raise BadAnswer("settle_jobs answered in another shape")

    monkeypatch.setattr(queue, "settle", unreadable)
    await queue.enqueue(job())
    with capture_logs() as logs:
        async with running(make_runner(Recorder(), poll=1)):
            await clock.advance(20)
    assert [line["what"] for line in logs if line["event"] == "part.failing"] == ["part.settle"]


async def test_what_cannot_be_written_back_is_not_run_again_and_again(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_jobs, handler = queue.settle, Recorder()

    async def unreadable(_results: object) -> None:
        raise BadAnswer("settle_jobs answered in another shape")

    monkeypatch.setattr(queue, "settle", unreadable)
    await queue.enqueue(job())
    async with running(make_runner(handler, poll=1, lease=30)):
        await clock.advance(10)
        await queue.enqueue(job())
        await clock.advance(600)
        assert [seen.job_id for seen in handler.seen] == [1, 2], "the second came before it was known"
        claims = len(queue.claims)
        monkeypatch.setattr(queue, "settle", settle_jobs)
        await clock.advance(20)
        assert len(queue.claims) > claims
    assert queue.rows == {}


async def test_a_stop_waits_for_what_runs(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    await queue.enqueue(job("test.gate", due_in=timedelta(seconds=2)))
    runner = make_runner(gate)
    run = asyncio.create_task(runner.run())
    await settle()
    drain = asyncio.create_task(runner.drain(timedelta(seconds=20)))
    await clock.advance(5)
    assert not drain.done()
    gate.opened.set()
    await settle()
    await drain
    await run
    assert [result.outcome for result in queue.settled] == [Done()]
    assert len(queue.rows) == 1  # the one that fell due during the stop is left for others


async def test_at_the_deadline_the_rest_is_handed_back_uncharged(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    runner = make_runner(gate)
    run = asyncio.create_task(runner.run())
    await settle()
    drain = asyncio.create_task(runner.drain(timedelta(seconds=20)))
    await clock.advance(20)
    await drain
    await run
    assert [result.outcome for result in queue.settled] == [Release()]
    assert (queue.rows[FIRST].state, queue.rows[FIRST].attempt) == ("waiting", 0)


async def test_a_stop_ends_in_time_even_without_a_database(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    gate = Gate()
    await queue.enqueue(job("test.gate"))
    runner = make_runner(gate)
    run = asyncio.create_task(runner.run())
    await settle()
    queue.faults.down = True
    drain = asyncio.create_task(runner.drain(timedelta(seconds=20)))
    await clock.advance(30)
    await drain
    await run
    assert queue.rows[FIRST].state == "running"  # its lease will run out


async def test_a_stop_waits_for_a_claim_that_hangs_but_not_for_long(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    queue.faults.hanging = True
    runner = make_runner(Recorder())
    async with running(runner):
        drain = asyncio.create_task(runner.drain(timedelta(seconds=20)))
        await clock.advance(4)
        assert not drain.done(), "it may answer yet"
        await clock.advance(1)
        assert drain.done()


async def test_a_claim_that_answers_during_the_stop_is_handed_back(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, claim = asyncio.Event(), queue.claim

    async def slow(*args: Any, **kwargs: Any) -> Claim:
        await answer.wait()
        return await claim(*args, **kwargs)

    monkeypatch.setattr(queue, "claim", slow)
    await queue.enqueue(job())
    runner = make_runner(Recorder())
    async with running(runner):
        drain = asyncio.create_task(runner.drain(timedelta(seconds=20)))
        await clock.advance(4)
        answer.set()
        await settle()
        assert drain.done()
    assert [result.outcome for result in queue.settled] == [Release()]


async def test_a_runner_that_died_does_not_hold_up_the_stop(
    make_runner: MakeRunner, queue: MemoryQueue
) -> None:
    queue.faults.planned.append(RuntimeError("a bug"))  # type: ignore[arg-type]  # no fault of the gateway
    runner = make_runner(Recorder())
    (died,) = await asyncio.gather(runner.run(), return_exceptions=True)
    assert isinstance(died, ExceptionGroup)
    drained = asyncio.create_task(runner.drain(timedelta(seconds=20)))
    await settle()
    assert drained.done()
