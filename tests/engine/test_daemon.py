"""The two-step stop, and what happens when a part ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import structlog

from tests.engine.clock import ManualClock, settle
from worker.engine.daemon import END_GRACE, HAND_BACK_GRACE, Daemon
from worker.engine.ports import Runner, Side
from worker.errors import StopOverdue, WorkerDied
from worker.log import STOP_OVERDUE, WORKER_DIED

DEADLINE = timedelta(seconds=20)


@dataclass
class Part:
    """A runner that does as the test says."""

    name: str
    story: list[str] = field(default_factory=list)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    hangs: bool = False
    swallows: bool = False

    async def run(self) -> None:
        while self.swallows:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await self.end.wait()
        if self.error:
            raise self.error

    def wake(self, lane: str) -> None:
        self.story.append(f"wake {lane}")

    async def drain(self, deadline: timedelta) -> None:
        self.story.append(f"drain {self.name} {deadline.total_seconds():.0f}")
        if self.hangs:
            await asyncio.Event().wait()
        self.end.set()

    def stats(self) -> Mapping[str, float]:
        return {}


@dataclass
class Background:
    name: str
    error: Exception | None = None
    cancelled: bool = False

    async def run(self) -> None:
        if self.error:
            raise self.error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def daemon(clock: ManualClock, runners: list[Runner], sides: list[Side]) -> Daemon:
    return Daemon(runners=runners, sides=sides, clock=clock, drain_deadline=DEADLINE)


async def test_a_stop_drains_every_runner_and_then_ends_the_side_tasks(clock: ManualClock) -> None:
    one, two, side = Part("one"), Part("two"), Background("side")
    whole = daemon(clock, [one, two], [side])
    run = asyncio.create_task(whole.run())
    await settle()
    assert not run.done()
    whole.stop()
    whole.stop()
    await run
    assert one.story == ["drain one 20"]
    assert two.story == ["drain two 20"]
    assert side.cancelled


async def test_a_side_task_that_dies_stops_the_worker_loudly_after_draining(clock: ManualClock) -> None:
    one, side = Part("one"), Background("clock", error=OSError("no clock"))
    with structlog.testing.capture_logs() as logs, pytest.raises(WorkerDied, match="clock ended by itself"):
        await daemon(clock, [one], [side]).run()
    assert one.story == ["drain one 20"]
    died = [line for line in logs if line["event"] == WORKER_DIED]
    assert [(line["part"], line["log_level"]) for line in died] == [("clock", "error")]


@pytest.mark.parametrize("error", [None, RuntimeError("bug")], ids=["returns", "raises"])
async def test_a_runner_that_ends_undrained_stops_the_worker(
    clock: ManualClock, error: Exception | None
) -> None:
    broken, other = Part("broken", error=error), Part("other")
    broken.end.set()
    with pytest.raises(WorkerDied, match="broken ended by itself"):
        await daemon(clock, [broken, other], []).run()
    assert other.story == ["drain other 20"]
    assert broken.story == []


async def test_a_drain_that_hangs_is_cut_off(clock: ManualClock) -> None:
    stuck = Part("stuck", hangs=True)
    whole = daemon(clock, [stuck], [])
    run = asyncio.create_task(whole.run())
    await settle()
    whole.stop()
    await clock.advance((DEADLINE + HAND_BACK_GRACE).total_seconds())
    await run


async def test_a_part_that_swallows_its_cancellation_is_named_and_not_waited_for(clock: ManualClock) -> None:
    stubborn, other, side = Part("stubborn", swallows=True), Part("other"), Background("side")
    whole = daemon(clock, [stubborn, other], [side])
    with structlog.testing.capture_logs() as logs:
        run = asyncio.create_task(whole.run())
        await settle()
        whole.stop()
        await clock.advance(END_GRACE.total_seconds())
        with pytest.raises(StopOverdue, match="stubborn did not end"):
            await run
    assert [line["part"] for line in logs if line["event"] == STOP_OVERDUE] == ["stubborn"]
    assert side.cancelled
    stubborn.swallows = False
    await settle()


# -- signals, in a process of its own ------------------------------------------------------------------------


@asynccontextmanager
async def stubborn_worker(*manner: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """tests/engine/stubborn.py: one job that never ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.engine.stubborn", *manner),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        assert await next_line(process) == "working"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


async def test_the_first_signal_drains_and_the_job_may_finish() -> None:
    async with stubborn_worker() as process:
        process.send_signal(signal.SIGTERM)
        assert await next_line(process) == "draining"
        process.send_signal(signal.SIGUSR1)  # lets the job end
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert await next_line(process) == "Done"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_the_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    async with stubborn_worker() as process:
        process.send_signal(signal.SIGTERM)
        assert await next_line(process) == "draining"
        process.send_signal(second)
        async with asyncio.timeout(5):
            assert await process.wait() == 1


@pytest.mark.parametrize(
    ("manner", "code", "last"), [("swallows", 1, "jobs did not end"), ("blocks", 0, "stopped")]
)
async def test_one_signal_is_enough_for_a_job_that_cannot_be_cancelled(
    manner: str, code: int, last: str
) -> None:
    """It swallows its cancellation, or hangs in a thread, for which Python waits at its end."""
    async with stubborn_worker(manner) as process:
        process.send_signal(signal.SIGTERM)
        assert await next_line(process) == "draining"
        assert await next_line(process) == last
        async with asyncio.timeout(20):
            assert await process.wait() == code
