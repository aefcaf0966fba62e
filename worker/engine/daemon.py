"""Everything together, and the stop in two steps.

A part that ends by itself takes the worker down: loudly, and after the others were drained, because a
worker that is half alive is worse than one that its supervisor starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.ports import Runner, Side
from worker.engine.retry import describe
from worker.errors import StopOverdue, WorkerDied
from worker.log import (
    STOP_OVERDUE,
    WORKER_DIED,
    WORKER_STARTED,
    WORKER_STOPPED,
    WORKER_STOPPING,
    Logger,
    get_logger,
)

# what a runner may take beyond the deadline, to write back and release what it holds
HAND_BACK_GRACE: Final = timedelta(seconds=8)
# what a part may take to end once it is cancelled; one that swallows its cancellation never does
END_GRACE: Final = timedelta(seconds=3)


class Daemon:
    """Runs runners and side tasks until `stop` is called or one of them ends."""

    def __init__(
        self, *, runners: Sequence[Runner], sides: Sequence[Side], clock: Clock, drain_deadline: timedelta
    ) -> None:
        self._runners, self._sides = runners, sides
        self._clock, self._drain_deadline = clock, drain_deadline
        self._stop = asyncio.Event()
        self._dead: dict[str, BaseException | None] = {}
        self._log: Logger = get_logger("worker")

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def dead(self) -> Sequence[str]:
        return tuple(self._dead)

    def stop(self) -> None:
        """Begins the two-step stop; calling it again changes nothing."""
        self._stop.set()

    async def run(self) -> None:
        """Works until stopped and drained. Raises `WorkerDied` when a part ended by itself, and `StopOverdue`
        when one would not end: its tasks are left to whoever ends the process.
        """
        # no TaskGroup: that would wait without bound for a part that swallows its cancellation
        parts = [
            asyncio.create_task(self._watch(part), name=part.name) for part in (*self._sides, *self._runners)
        ]
        self._log.info(WORKER_STARTED, parts=[part.name for part in (*self._runners, *self._sides)])
        try:
            await self._stop.wait()
            self._log.info(WORKER_STOPPING, deadline_seconds=self._drain_deadline.total_seconds())
            await asyncio.gather(*(self._drain(runner) for runner in self._runners))
        finally:
            overdue = await self._end(parts)
        if self._dead:
            name, cause = next(iter(self._dead.items()))
            raise WorkerDied(f"{name} ended by itself") from cause
        if overdue:
            raise StopOverdue(f"{', '.join(overdue)} did not end")
        self._log.info(WORKER_STOPPED)

    async def _end(self, parts: Sequence[asyncio.Task[None]]) -> list[str]:
        """Cancels `parts`; answers the names of those that do not end."""
        ended = asyncio.Event()
        for part in parts:
            part.cancel()
        asyncio.gather(*parts, return_exceptions=True).add_done_callback(lambda _: ended.set())
        await self._clock.wait(ended, END_GRACE)
        overdue = [part.get_name() for part in parts if not part.done()]
        for name in overdue:
            self._log.error(STOP_OVERDUE, part=name)
        return overdue

    async def _watch(self, part: Runner | Side) -> None:
        error: Exception | None = None
        try:
            await part.run()
        except Exception as caught:  # any: it is told below, and again by `run`
            error = caught
        if error is None and self.stopping:
            return
        self._dead[part.name] = error
        self._log.error(WORKER_DIED, part=part.name, error=error and describe(error), exc_info=error)
        self.stop()

    async def _drain(self, runner: Runner) -> None:
        if runner.name in self._dead:
            return
        limit = self._drain_deadline + HAND_BACK_GRACE
        draining = asyncio.ensure_future(runner.drain(self._drain_deadline))
        done = asyncio.Event()
        draining.add_done_callback(lambda _: done.set())
        if not await self._clock.wait(done, limit):
            draining.cancel()
            self._log.error("worker.drain_overdue", part=runner.name)
        elif error := draining.exception():
            self._log.error("worker.drain_failed", part=runner.name, error=describe(error), exc_info=error)
