"""Keeps the lease: renews it in good time, takes lanes and gives back what is more than the fair share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.retry import Backoff
from worker.engine.wake import Ear
from worker.errors import GatewayError
from worker.gateway.lanes import LaneStore
from worker.log import Logger, get_logger
from worker.webhooks.book import Book

LEASE_LOST: Final = "lanes.lease_lost"
LANES_TAKEN: Final = "lanes.taken"
LANES_GIVEN_BACK: Final = "lanes.given_back"

# endpoints may change in bursts, and each look counts all lanes
SHORTEST_PAUSE: Final = timedelta(milliseconds=250)
CALM: Final = 5
"""The rest after a lease call, in times of what the call took."""
SURPLUS_PAUSE: Final = timedelta(seconds=1)
AT_ONCE: Final = timedelta(0)


class Keeper:
    """Holds the lanes of `book` under one lease. `changed` hears of every answer."""

    def __init__(
        self,
        store: LaneStore,
        book: Book,
        *,
        clock: Clock,
        condition: Condition,
        duration: timedelta,
        changed: Callable[[], None],
    ) -> None:
        self._store, self._book, self._clock = store, book, clock
        self._duration, self._changed = duration, changed
        self._condition = condition
        self._valid_until = float("-inf")
        self._ear = Ear(clock)
        self._backoff = Backoff(
            first=timedelta(milliseconds=200), longest=min(timedelta(seconds=5), duration / 3)
        )
        self._rest = SHORTEST_PAUSE
        self._log: Logger = get_logger("worker.webhooks")

    def wake(self) -> None:
        """Endpoints may have changed, or the lease is in doubt."""
        self._ear.ring()

    def valid(self, now: float) -> bool:
        """Whether the lease surely runs at `now`, by our own clock: from before it was asked for, less a
        margin."""
        return now < self._valid_until

    def lost(self) -> None:
        """The database says that the lease is gone."""
        self._log.warning(LEASE_LOST, lease=self._book.token)
        self._valid_until = float("-inf")
        self._book.forget()
        self.wake()

    async def run(self) -> None:
        while True:
            pause = await self._renew()
            await self._clock.sleep(min(self._rest, pause))
            await self._ear.wait(pause)

    async def release(self) -> None:
        """Ends the lease, so that others can take the lanes at once. Raises `GatewayError`."""
        token = self._book.token
        self._valid_until = float("-inf")
        self._book.forget()
        if token is not None:
            await self._store.release(token)
            self._book.token = None

    async def _renew(self) -> timedelta:
        asked_at = self._clock.monotonic()
        try:
            lease = await self._store.lease(self._book.token, duration=self._duration)
            self._rest = max(SHORTEST_PAUSE, timedelta(seconds=self._clock.monotonic() - asked_at) * CALM)
            seconds = self._duration.total_seconds()
            self._valid_until = asked_at + seconds - min(2.0, seconds / 5)
            before, had = self._book.token, len(self._book.lanes)
            self._book.adopt(lease)
            if before is not None and before != lease.token:
                self._log.warning(LEASE_LOST, lease=before, now=lease.token)
            if len(lease.lanes) != had:
                self._log.info(LANES_TAKEN, lease=lease.token, lanes=len(lease.lanes))
            self._changed()
            pause = await self._give_back(lease.surplus)
            return AT_ONCE if lease.partial else pause
        except GatewayError as error:
            self._condition.failed(error)
            return self._backoff.next()

    async def _give_back(self, surplus: int) -> timedelta:
        """Gives back up to `surplus` quiet lanes; answers when to look again."""
        self._backoff.reset()
        self._condition.ok()
        if surplus <= 0:
            return self._duration / 3
        quiet = [held for held in self._book.lanes.values() if held.quiet]
        chosen = sorted(quiet, key=lambda held: held.queued)[:surplus]
        token = self._book.token
        if chosen and token is not None:
            ids = [held.lane_id for held in chosen]
            for lane_id in ids:
                self._book.drop(lane_id)
            await self._store.release(token, lanes=ids)
            self._log.info(LANES_GIVEN_BACK, lease=token, lanes=len(ids))
        return SURPLUS_PAUSE if len(chosen) < surplus else self._duration / 3
