"""The queue and the outbox in memory. The queue passes the contract suite of the real one
(tests/contract/queue); both can be told to fail."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, assert_never

from tests.engine.clock import ManualClock
from worker.engine.job import (
    AttemptId,
    Bury,
    Done,
    Job,
    JobId,
    NewJob,
    RawPayload,
    Release,
    Result,
    Retry,
    Snooze,
)
from worker.engine.ports import Claim, Dispatched, Settlement
from worker.errors import GatewayError, Unreachable


@dataclass(slots=True)
class Faults:
    """Failures to come: each call takes the next; `down` fails every one, `hanging` answers none."""

    planned: list[GatewayError] = field(default_factory=list)
    down: bool = False
    hanging: bool = False

    async def strike(self) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.planned:
            raise self.planned.pop(0)
        if self.down:
            raise Unreachable("Supabase could not be reached: planned")


@dataclass(slots=True)
class Row:
    job_id: JobId
    new: NewJob
    due_at: datetime
    created_at: datetime
    state: Literal["waiting", "running", "buried"] = "waiting"
    attempt: int = 0
    attempt_id: AttemptId | None = None
    error: str | None = None


class MemoryQueue:
    """A `JobQueue` for one process."""

    max_attempts = 10

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.faults = clock, Faults()
        self.rows: dict[JobId, Row] = {}
        self.claims: list[int] = []
        """The limit of every claim."""
        self.settled: list[Result] = []
        self._ids = itertools.count(1)

    async def claim(self, kinds: Collection[str], *, limit: int, lease: timedelta) -> Claim:
        await self.faults.strike()
        self.claims.append(limit)
        now = self.clock.now()
        candidates = [row for row in self.rows.values() if row.state != "buried" and row.new.kind in kinds]
        due = sorted(
            (row for row in candidates if row.due_at <= now), key=lambda row: (row.due_at, row.job_id)
        )
        jobs: list[Job[RawPayload]] = []
        for row in due:
            if len(jobs) < limit and not self._serial_taken(row):
                jobs.append(self._start(row, now + lease))
        later = [row.due_at for row in candidates if row.due_at > now]
        return Claim(jobs=jobs, next_due_at=min(later, default=None))

    async def extend(self, attempts: Collection[AttemptId], *, lease: timedelta) -> frozenset[AttemptId]:
        await self.faults.strike()
        held = [row for row in self.rows.values() if row.attempt_id in attempts]
        for row in held:
            row.due_at = self.clock.now() + lease
        return frozenset(row.attempt_id for row in held if row.attempt_id)

    async def settle(self, results: Sequence[Result]) -> Settlement:
        await self.faults.strike()
        lost = set()
        for result in results:
            row = self.rows.get(result.job_id)
            if row is None or row.attempt_id != result.attempt_id:
                lost.add(result.attempt_id)
            else:
                self._finish(row, result)
                self.settled.append(result)
        return Settlement(settled=len(results) - len(lost), lost=frozenset(lost))

    async def enqueue(self, job: NewJob) -> bool:
        await self.faults.strike()
        waiting = (row for row in self.rows.values() if row.state == "waiting")
        if job.unique_key and any(row.new.unique_key == job.unique_key for row in waiting):
            return False
        job_id, now = JobId(next(self._ids)), self.clock.now()
        self.rows[job_id] = Row(job_id, job, due_at=now + job.due_in, created_at=now)
        return True

    def take_over(self, job_id: JobId) -> None:
        """As if another worker had claimed the job."""
        self.rows[job_id].attempt_id = AttemptId("another worker's")

    def _serial_taken(self, row: Row) -> bool:
        key = row.new.serial_key
        others = (other for other in self.rows.values() if other is not row and other.state == "running")
        return key is not None and any(other.new.serial_key == key for other in others)

    def _start(self, row: Row, until: datetime) -> Job[RawPayload]:
        row.state, row.due_at = "running", until
        row.attempt += 1
        row.attempt_id = AttemptId(f"{row.job_id}/{row.attempt}/{len(self.claims)}")
        return Job(
            job_id=row.job_id,
            attempt_id=row.attempt_id,
            kind=row.new.kind,
            tenant_id=row.new.tenant_id,
            payload=row.new.payload,
            attempt=row.attempt,
            max_attempts=self.max_attempts,
            created_at=row.created_at,
        )

    def _finish(self, row: Row, result: Result) -> None:
        row.attempt_id = None
        match result.outcome:
            case Done():
                del self.rows[row.job_id]
            case Bury(error=error):
                row.state, row.error = "buried", error
            case Retry(after=after, error=error) if row.attempt < self.max_attempts:
                row.state, row.error, row.due_at = "waiting", error, self.clock.now() + after
            case Retry(error=error):
                row.state, row.error = "buried", error
            case Snooze(after=after, reason=reason):
                row.state, row.error, row.due_at = "waiting", reason, self.clock.now() + after
                row.attempt -= 1
            case Release():
                row.state, row.due_at = "waiting", self.clock.now()
                row.attempt -= 1
            case _:
                assert_never(result.outcome)


class MemoryOutbox:
    """An `Outbox` whose looks and silences are on record."""

    def __init__(self, clock: ManualClock, *, slice_of: int = 2_000) -> None:
        self.clock, self.faults = clock, Faults()
        self.waiting = 0
        self.deliveries_each = 0
        self.jobs_each = 0
        self.endpoints_each = 0
        self.looks: list[tuple[float, str, int]] = []
        """When, with which mark, how many events were found."""
        self.silences: list[tuple[float, float]] = []
        """When, for how long."""
        self._slice = slice_of

    async def dispatch(self, mark: str) -> Dispatched:
        await self.faults.strike()
        events = min(self.waiting, self._slice)
        self.waiting -= events
        self.looks.append((self.clock.monotonic(), mark, events))
        drained = self.waiting == 0
        return Dispatched(
            events=events,
            deliveries=events * self.deliveries_each,
            jobs=events * self.jobs_each,
            endpoints=events * self.endpoints_each,
            drained=drained,
            mark=str(len(self.looks)) if drained else mark,
        )

    async def stay_awake(self, duration: timedelta) -> None:
        await self.faults.strike()
        self.silences.append((self.clock.monotonic(), duration.total_seconds()))
