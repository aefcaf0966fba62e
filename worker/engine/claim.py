"""The runner of jobs: a free slot first, then a job, so that nothing is claimed that must wait here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.job import AttemptId, Job, Outcome, RawPayload, Release, Result
from worker.engine.metrics import Metrics
from worker.engine.ports import CALL_IN_HAND, Claim, JobQueue
from worker.engine.retry import Backoff
from worker.engine.run import Executor
from worker.engine.settle import Leases, Settler
from worker.engine.wake import JOBS, Ear
from worker.errors import GatewayError
from worker.log import DRAIN_CUT, JOB_LOST, JOB_RELEASED, JOB_SETTLED, JOB_STARTED, Logger, get_logger

WRITE_BACK_GRACE: Final = timedelta(seconds=3)
SHORTEST_WAIT: Final = timedelta(milliseconds=250)


class JobRunner:
    """Claims jobs for its free slots, runs them, writes back what became of them."""

    def __init__(
        self,
        queue: JobQueue,
        executor: Executor,
        *,
        name: str = "jobs",
        clock: Clock,
        metrics: Metrics,
        condition: Condition,
        settling: Condition,
        extending: Condition,
        slots: int,
        poll: timedelta,
        lease: timedelta,
    ) -> None:
        """`condition` tells whether jobs can be claimed, `settling` whether results can be written back,
        `extending` whether the leases of what runs can be extended.
        """
        self.name = name
        self._queue, self._executor, self._clock = queue, executor, clock
        self._metrics, self._condition = metrics, condition
        self._slots, self._poll, self._lease = slots, poll, lease
        self._ear = Ear(clock)
        self._backoff = Backoff(first=timedelta(milliseconds=100), longest=timedelta(seconds=5))
        self._running: dict[AttemptId, asyncio.Task[None]] = {}
        self._abandoned: set[AttemptId] = set()
        self._settler = Settler(queue, clock=clock, condition=settling)
        self._leases = Leases(
            queue,
            clock=clock,
            condition=extending,
            lease=lease,
            held=self._running.keys,
            lost=self._abandon,
        )
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._claiming_ended = asyncio.Event()
        self._drained = asyncio.Event()
        self._log: Logger = get_logger("worker.jobs")

    def wake(self, lane: str) -> None:
        if lane == JOBS:
            self._ear.ring()

    def stats(self) -> Mapping[str, float]:
        return {"running": len(self._running), "slots": self._slots}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._settler.run()), group.create_task(self._leases.run())]
            try:
                await self._claim_until_stopped(group)
            finally:
                self._claiming_ended.set()
            await self._drained.wait()
            for helper in helpers:
                helper.cancel()

    async def drain(self, deadline: timedelta) -> None:
        """Finishes what runs; what has not ended at `deadline` is cancelled and handed back uncharged."""
        ends = self._clock.monotonic() + deadline.total_seconds()
        self._stopping = True
        self._ear.ring()
        await self._clock.wait(self._claiming_ended, min(deadline, CALL_IN_HAND))
        left = timedelta(seconds=max(0.0, ends - self._clock.monotonic()))
        if not await self._clock.wait(self._empty, left):
            self._log.warning(DRAIN_CUT, running=len(self._running))
            for task in self._running.values():
                task.cancel()
            await self._clock.wait(self._empty, WRITE_BACK_GRACE)
        await self._settler.flushed(WRITE_BACK_GRACE)
        self._drained.set()

    async def _claim_until_stopped(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping:
            free = self._slots - len(self._running)
            if free <= 0 or self._cannot_write_back():
                await self._ear.wait(self._poll)
                continue
            try:
                claim = await self._queue.claim(self._executor.kinds, limit=free, lease=self._lease)
            except GatewayError as error:
                self._condition.failed(error)
                await self._ear.wait(self._backoff.next())
                continue
            self._condition.ok()
            self._backoff.reset()
            for job in claim.jobs:
                self._start(job, group)
            if len(claim.jobs) < free and not self._stopping:
                await self._ear.wait(self._until_next(claim))

    def _cannot_write_back(self) -> bool:
        """Whether results wait to be written so long that the leases of their jobs may soon run out: we would
        only claim and run the same jobs again, each lease anew.
        """
        # when a job ends, two thirds of its lease are left at least
        return self._settler.waited >= self._lease / 2

    def _until_next(self, claim: Claim) -> timedelta:
        if claim.next_due_at is None:
            return self._poll
        # the floor is for one that is due but waits for its serial key, and for clocks that disagree
        return max(SHORTEST_WAIT, min(self._poll, claim.next_due_at - self._clock.now()))

    def _start(self, job: Job[RawPayload], group: asyncio.TaskGroup) -> None:
        if self._stopping:
            self._settler.settle(Result(job.job_id, job.attempt_id, Release()))
            return
        self._empty.clear()
        self._running[job.attempt_id] = group.create_task(self._work(job), name=f"{job.kind} {job.job_id}")

    async def _work(self, job: Job[RawPayload]) -> None:
        started = self._clock.monotonic()
        self._log.debug(JOB_STARTED, job_id=job.job_id, kind=job.kind, attempt=job.attempt)
        try:
            outcome = await self._executor.execute(job)
        except asyncio.CancelledError:
            self._hand_back(job)
        else:
            # handed over before anything is awaited: cancelling this task cannot stop the write
            written = self._settler.settle(Result(job.job_id, job.attempt_id, outcome))
            self._free(job)
            self._report(job, outcome, await written, seconds=self._clock.monotonic() - started)

    def _free(self, job: Job[RawPayload]) -> None:
        if len(self._running) == self._slots:
            self._ear.ring()
        del self._running[job.attempt_id]
        if not self._running:
            self._empty.set()

    def _hand_back(self, job: Job[RawPayload]) -> None:
        """After a cancel: at a stop the job is released; one that was lost is simply forgotten."""
        if job.attempt_id in self._abandoned:
            self._abandoned.discard(job.attempt_id)
        else:
            self._settler.settle(Result(job.job_id, job.attempt_id, Release()))
            self._log.info(JOB_RELEASED, job_id=job.job_id, kind=job.kind)
        self._free(job)

    def _report(self, job: Job[RawPayload], outcome: Outcome, held: bool, *, seconds: float) -> None:
        name = type(outcome).__name__.lower() if held else "lost"
        self._log.info(
            JOB_SETTLED if held else JOB_LOST,
            job_id=job.job_id,
            kind=job.kind,
            outcome=name,
            seconds=round(seconds, 3),
        )
        self._metrics.settled(kind=job.kind, outcome=name, seconds=seconds)
        # a job that waited for this one's serial key may be claimed now
        self._ear.ring()

    def _abandon(self, attempt_id: AttemptId) -> None:
        """Another worker has the job now: stop, and write nothing back."""
        self._abandoned.add(attempt_id)
        self._running[attempt_id].cancel()
