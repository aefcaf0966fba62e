"""Looks now and then whether the marks in memory made the reader pass over something, beside the reading.

Nothing should. But marks live in memory alone, and a database that was set back to an earlier state gives ids
again that lie below them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.errors import GatewayError
from worker.gateway.lanes import LaneStore
from worker.log import Logger, get_logger
from worker.webhooks.book import Book

DELIVERY_MISSED: Final = "lanes.delivery_missed"
EVERY: Final = timedelta(seconds=30)
CALM: Final = 20
"""The least rest after a look, in times of what it took: it walks dead entries while a session holds xmin."""


class Auditor:
    """Compares what the lanes are owed with what is in hand. `found` hears that the reader was set back."""

    def __init__(
        self, store: LaneStore, book: Book, *, clock: Clock, condition: Condition, found: Callable[[], None]
    ) -> None:
        self._store, self._book, self._clock = store, book, clock
        self._condition, self._found = condition, found
        self._log: Logger = get_logger("worker.webhooks")

    async def run(self) -> None:
        pause = EVERY
        while True:
            await self._clock.sleep(pause)
            began = self._clock.monotonic()
            try:
                await self._look()
            except GatewayError as error:
                self._condition.failed(error)
            else:
                self._condition.ok()
            pause = max(EVERY, CALM * timedelta(seconds=self._clock.monotonic() - began))

    async def _look(self) -> None:
        book, token = self._book, self._book.token
        if token is None or not book.any_live:
            return
        missed = await self._store.find_missed(
            token, through=book.tail, in_hand=book.firsts_in_hand(), behind=book.unread_lane_ids()
        )
        if missed is not None and book.token == token:
            self._log.warning(DELIVERY_MISSED, delivery=missed, tail=book.tail)
            book.set_back(missed)
            self._found()
