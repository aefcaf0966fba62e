"""Reads what the lanes are owed into the book: the tail of all lanes, and the backlog of those behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.retry import Backoff
from worker.engine.wake import Ear, SecondLook
from worker.errors import GatewayError
from worker.gateway.lanes import LaneStore, Page
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane

TAIL_LIMIT: Final = 1000
BACKLOG_LIMIT: Final = 1000
SOONEST: Final = timedelta(milliseconds=20)
AT_ONCE: Final = timedelta(0)
# beyond every id: a read from here brings retries alone
NO_FIRST_ATTEMPTS: Final = 2**62


class Reader:
    """One read at a time, as the book demands. `got` hears which lanes have something new, `outdated` that
    some must be described again first, `lost` that the lease is gone."""

    def __init__(
        self,
        store: LaneStore,
        book: Book,
        *,
        clock: Clock,
        condition: Condition,
        poll: timedelta,
        got: Callable[[Iterable[HeldLane]], None],
        outdated: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._store, self._book, self._clock, self._poll = store, book, clock, poll
        self._got, self._outdated, self._lost, self._condition = got, outdated, lost, condition
        self._ear = Ear(clock)
        self._backoff = Backoff(first=timedelta(milliseconds=100), longest=timedelta(seconds=5))
        self._retries_at = float("-inf")
        self._again = SecondLook()

    def wake(self) -> None:
        """There is room for more, or another lease."""
        self._ear.ring()

    def rang(self) -> None:
        """There may be something new."""
        self._again.rang()
        self._ear.ring()

    async def run(self) -> None:
        while True:
            await self._ear.wait(await self._look())

    async def _look(self) -> timedelta:
        """One round; answers how long to wait for a ring before the next."""
        if self._book.token is None:
            return self._poll
        self._again.begins()
        try:
            # at the start everything is behind, and the end of the backlog tells where the tail begins
            pauses = [await self._read_backlog()] if self._book.tail == 0 else []
            pauses.append(await self._read_tail())
            pauses.append(await self._read_backlog())
        except GatewayError as error:
            self._condition.failed(error)
            return self._backoff.next()
        self._backoff.reset()
        self._condition.ok()
        return self._again.pause(min(pauses))

    async def _read_tail(self) -> timedelta:
        book, token = self._book, self._book.token
        if token is None:
            return self._poll
        live, now = book.any_live, self._clock.monotonic()
        if not live and now < self._retries_at:
            return self._poll
        self._retries_at, more_retries = now + self._poll.total_seconds(), False
        book.begin_read()
        try:
            page = await self._store.read_tail(
                token,
                after=book.tail if live else NO_FIRST_ATTEMPTS,
                limit=TAIL_LIMIT,
                busy=tuple(book.stock.busy),
                closed=book.stock.closed_lane_ids(),
                behind=book.behind_lane_ids() if live else (),
            )
            if page.stale:
                self._lost_if(token)
            elif book.token == token:
                had = len(book.stock.busy)
                self._take(book.take_tail(page, firsts=live))
                more_retries = _full_of_retries(page) and len(book.stock.busy) > had
        finally:
            book.end_read()
        if more_retries:
            self._retries_at = now
        if page.more or more_retries:
            return AT_ONCE
        if page.next_retry_at is None:
            return self._poll
        # the two clocks may differ, so the next retry makes us look sooner, never later and never in a spin
        return min(self._poll, max(page.next_retry_at - self._clock.now(), SOONEST))

    async def _read_backlog(self) -> timedelta:
        book, token = self._book, self._book.token
        read = book.backlog()
        if read is None or token is None:
            return self._poll
        before = [(held, held.cursor) for held in read.marks]
        book.begin_read()
        try:
            page = await self._store.read_backlog(
                token,
                lanes=read.lane_ids,
                after=read.after,
                through=book.tail or None,
                limit=BACKLOG_LIMIT,
            )
            if page.stale:
                self._lost_if(token)
            elif book.token == token:
                self._take(book.take_backlog(read, page))
        finally:
            book.end_read()
        # without progress there is no room: sending makes some, and rings
        moved = any(held.live or held.cursor != cursor for held, cursor in before)
        return AT_ONCE if moved and book.backlog() is not None else self._poll

    def _take(self, lanes: Collection[HeldLane]) -> None:
        if lanes:
            self._again.found()
        self._got(lanes)
        if self._book.take_outdated():
            self._retries_at = float("-inf")  # theirs may be due at once when they are described
            self._outdated()

    def _lost_if(self, token: int) -> None:
        if self._book.token == token:
            self._lost()


def _full_of_retries(page: Page) -> bool:
    """Whether there may be more of them: `page.more` is counted over first attempts alone."""
    return sum(each.retry for each in page.deliveries) >= TAIL_LIMIT
