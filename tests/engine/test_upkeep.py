"""Routines are queued at the start and again and again; the handlers of the database's housekeeping."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.engine.condition import Condition
from worker.engine.job import NewJob
from worker.engine.ports import Handler
from worker.engine.upkeep import Routine, Upkeep
from worker.errors import Refused, Unreachable
from worker.upkeep.handlers import ROUTINES, ForgetApiRequests, ForgetCommandResults, KeepPartitions


@dataclass
class Housekeeping:
    """Records what is asked of it; fails as planned."""

    calls: list[tuple[str, float]] = field(default_factory=list)
    planned: list[Exception] = field(default_factory=list)
    slices: int = 1

    async def make_partitions(self, *, days_ahead: int) -> list[str]:
        self._note("make", days_ahead)
        return ["events_20261123"]

    async def drop_partitions(self, *, keep_days: int) -> list[str]:
        self._note("drop", keep_days)
        return []

    async def forget_command_results(self, *, keep: timedelta) -> int:
        self._note("forget", keep.total_seconds() / 3600)
        return 3

    async def forget_api_requests(self) -> bool:
        self._note("requests", 0)
        return len(self.calls) == 1 and self.slices > 1

    def _note(self, what: str, number: float) -> None:
        if self.planned:
            raise self.planned.pop(0)
        self.calls.append((what, number))


async def test_routines_are_queued_at_once_and_at_their_interval(
    queue: MemoryQueue, clock: ManualClock, condition: Condition
) -> None:
    routine = Routine(NewJob("test.note", {}, unique_key="note"), every=timedelta(hours=1))
    task = asyncio.create_task(Upkeep(queue, [routine], clock=clock, condition=condition).run())
    await clock.advance(1)
    assert len(queue.rows) == 1
    queue.rows.clear()
    await clock.advance(3_599)
    assert len(queue.rows) == 1
    await clock.advance(3_600)
    assert len(queue.rows) == 1, "the one that waits stands for both"
    task.cancel()


async def test_an_outage_at_the_start_is_waited_out(
    queue: MemoryQueue, clock: ManualClock, condition: Condition
) -> None:
    queue.faults.down = True
    task = asyncio.create_task(Upkeep(queue, ROUTINES, clock=clock, condition=condition).run())
    await clock.advance(300)
    queue.faults.down = False
    await clock.advance(61)
    assert {row.new.kind for row in queue.rows.values()} == {
        "upkeep.partitions",
        "upkeep.command_results",
        "upkeep.api_requests",
    }
    task.cancel()


async def test_a_routine_that_is_refused_is_told_once_though_the_others_are_queued(
    queue: MemoryQueue, clock: ManualClock, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue, refusing = queue.enqueue, True

    async def refuse(job: NewJob) -> bool:
        if refusing and job.kind == "test.bad":
            raise Refused("job.kind_unknown", code="PT422")
        return await enqueue(job)

    monkeypatch.setattr(queue, "enqueue", refuse)
    routines = [
        Routine(NewJob(kind, {}, unique_key=kind), every=timedelta(seconds=5))
        for kind in ("test.bad", "test.good")
    ]
    with capture_logs() as logs:
        task = asyncio.create_task(Upkeep(queue, routines, clock=clock, condition=condition).run())
        await clock.advance(600)
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["part.failing"]
        assert "job.kind_unknown" in (condition.reason or "")
        refusing = False
        await clock.advance(61)
        assert condition.holds
    task.cancel()


def test_a_routine_without_a_unique_key_is_refused(
    queue: MemoryQueue, clock: ManualClock, condition: Condition
) -> None:
    nameless = Routine(NewJob("test.note", {}), every=timedelta(hours=1))
    with pytest.raises(ValueError, match=r"test\.note"):
        Upkeep(queue, [nameless], clock=clock, condition=condition)


CASES = [
    (KeepPartitions, [("make", 7), ("drop", 30)]),
    (ForgetCommandResults, [("forget", 24)]),
    (ForgetApiRequests, [("requests", 0)]),
]


@pytest.mark.parametrize(("handler", "expected"), CASES)
async def test_each_kind_done_twice_transient_and_poison(
    handler: type[KeepPartitions | ForgetCommandResults | ForgetApiRequests],
    expected: list[tuple[str, float]],
    make_runner: MakeRunner,
    queue: MemoryQueue,
    clock: ManualClock,
) -> None:
    house = Housekeeping()
    made: Handler = handler(house)
    async with running(make_runner(made, poll=1)):
        await queue.enqueue(NewJob(made.kind, {}))
        await clock.advance(2)
        assert house.calls == expected
        await queue.enqueue(NewJob(made.kind, {}))  # delivered twice
        await clock.advance(2)
        assert house.calls == expected * 2
        house.planned = [Unreachable("away")]
        await queue.enqueue(NewJob(made.kind, {}))
        await clock.advance(20)
        assert house.calls == expected * 3
        assert queue.rows == {}
        await queue.enqueue(NewJob(made.kind, {"keep_hours": "for ever", "days_ahead": -1}))
        await clock.advance(2)
    assert [row.state for row in queue.rows.values()] == ["buried"]
    assert house.calls == expected * 3
