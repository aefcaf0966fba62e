"""Housekeeping, queued from time to time. Every worker does it: unique keys make many askings one job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.engine.clock import Clock
from worker.engine.job import NewJob
from worker.engine.ports import JobQueue
from worker.engine.retry import Backoff, describe
from worker.errors import GatewayError
from worker.log import Logger, get_logger


@dataclass(frozen=True, slots=True)
class Routine:
    """A job to be queued at the start and then again and again; it must carry a unique key."""

    job: NewJob
    every: timedelta


class Upkeep:
    """The side task that queues the routines."""

    name = "upkeep"

    def __init__(self, queue: JobQueue, routines: Sequence[Routine], *, clock: Clock) -> None:
        if nameless := [routine.job.kind for routine in routines if routine.job.unique_key is None]:
            raise ValueError(f"routines without a unique key: {nameless}")
        self._queue, self._routines, self._clock = queue, routines, clock
        self._log: Logger = get_logger("worker.upkeep")

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
                self._log.debug("upkeep.not_queued", kind=routine.job.kind, error=describe(error))
                await self._clock.sleep(backoff.next())
            else:
                backoff.reset()
                await self._clock.sleep(routine.every)
