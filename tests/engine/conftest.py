"""Fixtures of the engine's tests: everything in memory, time by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import pytest

from tests.engine.clock import ManualClock, settle
from tests.engine.memory import MemoryOutbox, MemoryQueue
from worker.engine.claim import JobRunner
from worker.engine.condition import Condition
from worker.engine.metrics import Metrics
from worker.engine.ports import Handler, Runner
from worker.engine.run import Executor

Started = Callable[[Runner], AbstractAsyncContextManager[None]]
MakeRunner = Callable[..., JobRunner]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue(clock)


@pytest.fixture
def outbox(clock: ManualClock) -> MemoryOutbox:
    return MemoryOutbox(clock)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def condition(clock: ManualClock) -> Condition:
    return Condition("part", clock, lost="part.failing", back="part.working")


@pytest.fixture
def make_runner(queue: MemoryQueue, clock: ManualClock, metrics: Metrics, condition: Condition) -> MakeRunner:
    """`make_runner(handler, …, slots=4)`: a runner of jobs over the memory queue."""

    def make(*handlers: Handler, slots: int = 4, poll: float = 60.0, lease: float = 30.0) -> JobRunner:
        return JobRunner(
            queue,
            Executor(handlers, chance=random.Random(7)),
            clock=clock,
            metrics=metrics,
            condition=condition,
            settling=Condition("part.settle", clock, lost="part.failing", back="part.working"),
            extending=Condition("part.extend", clock, lost="part.failing", back="part.working"),
            slots=slots,
            poll=timedelta(seconds=poll),
            lease=timedelta(seconds=lease),
        )

    return make


@asynccontextmanager
async def running(runner: Runner) -> AsyncIterator[None]:
    """`runner` at work in the background; what it raises comes out at the end."""
    task = asyncio.create_task(runner.run())
    await settle()
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
