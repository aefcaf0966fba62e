"""The event rate of the project: an average over a minute that is judged only now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

BUCKETS = 12


class RateCounter:
    """Counts events in ticks (5 s by default) and averages over the last 12 of them, fewer while it is young.

    `limited` changes only when a tick ends, so a burst passes whole and the silence comes after it.
    """

    def __init__(self, *, limit: int, tick_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._tick = tick_seconds
        self._clock = clock
        self._ends_at = clock() + tick_seconds
        self._current = 0
        self._buckets: deque[int] = deque(maxlen=BUCKETS)
        self._limited = False

    def add(self, events: int) -> None:
        self._advance()
        self._current += events

    @property
    def limited(self) -> bool:
        self._advance()
        return self._limited

    def _advance(self) -> None:
        now = self._clock()
        while self._ends_at <= now:
            self._buckets.append(self._current)
            self._current = 0
            self._ends_at += self._tick
            average = sum(self._buckets) / (len(self._buckets) * self._tick)
            self._limited = average > self._limit
