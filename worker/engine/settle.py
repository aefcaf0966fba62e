"""The fenced write-back of jobs, and the leases of those still running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.job import AttemptId, Result
from worker.engine.ports import JobQueue, Settlement
from worker.engine.retry import Backoff, describe
from worker.errors import GatewayError, Refused
from worker.log import JOB_LOST, Logger, get_logger


class Settler:
    """Writes results back in batches: one call at a time, and what came meanwhile goes with the next.

    A result is handed over before anything is awaited, so cancelling the waiter cannot lose it. It is
    tried until it is written: what another worker took over since is fenced off by its attempt's id.
    """

    def __init__(self, queue: JobQueue, *, clock: Clock, condition: Condition) -> None:
        self._queue, self._clock, self._condition = queue, clock, condition
        self._waiting: list[tuple[Result, asyncio.Future[bool]]] = []
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writing_since: float | None = None
        condition.ok()  # nothing has to be written back yet
        self._log: Logger = get_logger("worker.jobs")

    def settle(self, result: Result) -> asyncio.Future[bool]:
        """Queues `result`; the future is True once it is written, False when the attempt was lost."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, written))
        self._idle.clear()
        self._some.set()
        return written

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, []
            await self._write(batch)
            if not self._waiting:
                self._idle.set()

    async def flushed(self, deadline: timedelta) -> bool:
        """Waits until everything handed over is written, at most `deadline`."""
        return await self._clock.wait(self._idle, deadline)

    @property
    def waited(self) -> timedelta:
        """How long the results in hand have been tried to be written; nought when there are none."""
        since = self._writing_since
        return timedelta(seconds=0 if since is None else self._clock.monotonic() - since)

    async def _write(self, batch: Sequence[tuple[Result, asyncio.Future[bool]]]) -> None:
        settlement = await self._insist([result for result, _ in batch])
        if settlement is None:
            for each in batch if len(batch) > 1 else ():
                await self._write([each])
            lost = frozenset(result.attempt_id for result, _ in batch) if len(batch) == 1 else frozenset()
        else:
            lost = settlement.lost
        for result, written in batch:
            if not written.done():
                written.set_result(result.attempt_id not in lost)

    async def _insist(self, results: Sequence[Result]) -> Settlement | None:
        """Settles, through outages of any length. None: the database refuses this batch for good."""
        backoff = Backoff(first=timedelta(milliseconds=100), longest=timedelta(seconds=5))
        self._writing_since = self._clock.monotonic()
        try:
            while True:
                try:
                    settlement = await self._queue.settle(results)
                except Refused as error:
                    self._log.error("job.settle_refused", error=describe(error), results=len(results))
                    return None
                except GatewayError as error:
                    self._condition.failed(error)
                    await self._clock.sleep(backoff.next())
                else:
                    self._condition.ok()
                    return settlement
        finally:
            self._writing_since = None


class Leases:
    """Extends the leases of running jobs, three times within a lease; reports those that were lost."""

    def __init__(
        self,
        queue: JobQueue,
        *,
        clock: Clock,
        condition: Condition,
        lease: timedelta,
        held: Callable[[], Collection[AttemptId]],
        lost: Callable[[AttemptId], None],
    ) -> None:
        self._queue, self._clock, self._lease = queue, clock, lease
        self._held, self._lost, self._condition = held, lost, condition
        condition.ok()  # nothing has to be extended yet
        self._log: Logger = get_logger("worker.jobs")

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._lease / 3)
            asked = frozenset(self._held())
            if not asked:
                self._condition.ok()
                continue
            try:
                kept = await self._queue.extend(asked, lease=self._lease)
            except GatewayError as error:
                # the next round tries again; if the lease runs out meanwhile, the fence holds
                self._condition.failed(error)
                continue
            self._condition.ok()
            for attempt_id in asked - kept:
                if attempt_id in self._held():
                    self._log.warning(JOB_LOST, attempt_id=attempt_id)
                    self._lost(attempt_id)
