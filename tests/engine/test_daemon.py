"""The two-step stop, and what happens when a part ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import structlog

from tests.engine.clock import ManualClock, settle
from worker.engine.daemon import HAND_BACK_GRACE, Daemon
from worker.engine.ports import Runner, Side
from worker.errors import WorkerDied
from worker.log import WORKER_DIED

DEADLINE = timedelta(seconds=20)


@dataclass
class Part:
    """A runner that does as the test says."""

    name: str
    story: list[str] = field(default_factory=list)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    hangs: bool = False

    async def run(self) -> None:
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


# -- signals, in a process of its own ------------------------------------------------------------------------


@asynccontextmanager
async def stubborn_worker() -> AsyncIterator[asyncio.subprocess.Process]:
    """tests/engine/stubborn.py: one job that never ends, a drain deadline of a minute."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.engine.stubborn",
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
