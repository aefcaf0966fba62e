"""The two queues that must behave alike: the one of the engine's tests, and the database's over PostgREST."""

from __future__ import annotations

import random
import string
from datetime import timedelta
from typing import Protocol

from psycopg import AsyncConnection

from tests.engine.clock import ManualClock
from tests.engine.memory import MemoryQueue
from worker.engine.job import JobId
from worker.engine.ports import JobQueue


class World(Protocol):
    """A queue, seen from outside: its clock and its rows."""

    @property
    def queue(self) -> JobQueue: ...
    @property
    def kind(self) -> str:
        """A kind of job that nobody else uses."""

    async def pass_time(self, duration: timedelta) -> None: ...
    async def state(self, job_id: JobId) -> tuple[str, int, str | None] | None:
        """State, attempts charged and last error; None when the job is gone."""


class MemoryWorld:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryQueue(self.clock)
        self.kind = "test.kind"

    async def pass_time(self, duration: timedelta) -> None:
        await self.clock.advance(duration.total_seconds())

    async def state(self, job_id: JobId) -> tuple[str, int, str | None] | None:
        row = self.queue.rows.get(job_id)
        return None if row is None else (row.state, row.attempt, row.error)


class DatabaseWorld:
    """Time passes by moving this kind's due times back."""

    def __init__(self, queue: JobQueue, connection: AsyncConnection) -> None:
        self.queue, self._connection = queue, connection
        self.kind = "test." + "".join(random.choices(string.ascii_lowercase, k=16))

    async def pass_time(self, duration: timedelta) -> None:
        await self._connection.execute(
            "update queue.jobs set due_at = due_at - %s where kind = %s", (duration, self.kind)
        )

    async def state(self, job_id: JobId) -> tuple[str, int, str | None] | None:
        found = await self._connection.execute(
            "select state, attempt, last_error from queue.jobs where id = %s", (job_id,)
        )
        return await found.fetchone()
