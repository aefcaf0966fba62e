"""Writes results back: one call at a time, and whatever comes in meanwhile makes the next batch.

So a lone result is written at once, and a thousand a second go in a few calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from msgspec import Struct

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.retry import Backoff
from worker.errors import GatewayError, Refused
from worker.gateway.lanes import LaneStore, Result
from worker.log import Logger, get_logger
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane
from worker.webhooks.meter import Meter

SETTLE_REFUSED: Final = "lanes.settle_refused"
RESULTS_DROPPED: Final = "lanes.results_dropped"
BATCH: Final = 1000
PATIENCE: Final = timedelta(milliseconds=30)
MOST_WAITING: Final = 2 * BATCH
"""What is sent and cannot be written is sent again by whoever gets the lanes next: so not without end."""


class Finished(Struct, gc=False):
    """A result, the lane it belongs to, and the monotonic moment of its answer."""

    held: HeldLane
    result: Result
    answered_at: float


class Settler:
    """Batches results under the book's lease. `room` hears that fewer wait, `lost` of a lost lease."""

    def __init__(
        self,
        store: LaneStore,
        book: Book,
        *,
        clock: Clock,
        condition: Condition,
        meter: Meter,
        room: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._store, self._book, self._clock = store, book, clock
        self._meter, self._room, self._lost, self._condition = meter, room, lost, condition
        self._waiting: deque[Finished] = deque()
        self._rung = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._backoff = Backoff(first=timedelta(milliseconds=50), longest=timedelta(seconds=2))
        self._log: Logger = get_logger("worker.webhooks")

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be sent before something is written."""
        return len(self._waiting) >= MOST_WAITING

    def add(self, finished: Finished) -> None:
        self._waiting.append(finished)
        self._idle.clear()
        self._rung.set()

    async def run(self) -> None:
        # with nothing to write there is nothing wrong, and an idle worker is a ready one
        self._condition.ok()
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._waiting:
                await self._wait_for_more()
                if batch := self._next_batch():
                    await self._settle(batch)
                self._room()
            self._idle.set()

    async def _wait_for_more(self) -> None:
        """In a backlog, whose results are news to nobody: one call for many costs less than two for few."""
        if len(self._waiting) < BATCH // 2 and self._book.stock.queued >= BATCH:
            await self._clock.sleep(PATIENCE)

    async def flushed(self) -> None:
        """Returns when nothing waits to be written any more."""
        await self._idle.wait()

    def _next_batch(self) -> list[Finished]:
        batch: list[Finished] = []
        dropped = 0
        while self._waiting and len(batch) < BATCH:
            finished = self._waiting.popleft()
            # a lane that is no longer ours is somebody else's to settle: they will send it again
            if self._book.holds(finished.held):
                batch.append(finished)
            else:
                dropped += 1
        if dropped:
            self._log.warning(RESULTS_DROPPED, results=dropped)
        return batch

    async def _settle(self, batch: list[Finished]) -> None:
        """Writes `batch`, however often it takes, until it is written or the lease is lost."""
        token = self._book.token
        while token is not None and self._book.token == token:
            try:
                # a cancelled call may have taken effect, so it is always seen through
                kept = await asyncio.shield(self._store.settle(token, [f.result for f in batch]))
            except Refused as error:
                await self._settle_apart(batch, error)
                return
            except GatewayError as error:
                self._condition.failed(error)
                await self._clock.sleep(self._backoff.next())
                continue
            self._backoff.reset()
            self._condition.ok()
            if not kept:
                self._log.warning(RESULTS_DROPPED, results=len(batch))
                if self._book.token == token:
                    self._lost()
                return
            now = self._clock.monotonic()
            for finished in batch:
                self._meter.timed("answered_to_settled", now - finished.answered_at)
            # a probe's delivery waits on, where it was
            self._book.settled((f.held, f.result.delivery_id) for f in batch if f.result.outcome != "probe")
            return

    async def _settle_apart(self, batch: list[Finished], error: Refused) -> None:
        """One result that the database refuses must not hold up the others."""
        if len(batch) == 1:
            # it stays in hand, so this worker does not send it again and again
            self._log.error(SETTLE_REFUSED, error=str(error), delivery=batch[0].result.delivery_id)
            return
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])
