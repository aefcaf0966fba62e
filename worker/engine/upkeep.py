"""Housekeeping, queued from time to time. Every worker does it: unique keys make many askings one job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.job import NewJob
from worker.engine.ports import JobQueue
from worker.engine.retry import Backoff
from worker.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Routine:
    """A job to be queued at the start and then again and again; it must carry a unique key."""

    job: NewJob
    every: timedelta


class Upkeep:
    """The side task that queues the routines."""

    name = "upkeep"

    def __init__(
        self, queue: JobQueue, routines: Sequence[Routine], *, clock: Clock, condition: Condition
    ) -> None:
        if nameless := [routine.job.kind for routine in routines if routine.job.unique_key is None]:
            raise ValueError(f"routines without a unique key: {nameless}")
        self._queue, self._routines, self._clock, self._condition = queue, routines, clock, condition
        self._failing: set[str] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for routine in self._routines:
                group.create_task(self._repeat(routine))
            await asyncio.Event().wait()

    async def _repeat(self, routine: Routine) -> None:
        backoff = Backoff(first=timedelta(seconds=1), longest=timedelta(minutes=1))
        while True:
            try:
                await self._queue.enqueue(routine.job)
            except GatewayError as error:
                self._failing.add(routine.job.kind)
                self._condition.failed(error)
                await self._clock.sleep(backoff.next())
            else:
                backoff.reset()
                self._failing.discard(routine.job.kind)
                if not self._failing:
                    self._condition.ok()
                await self._clock.sleep(routine.every)
