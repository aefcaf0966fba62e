"""When to look: the bell, the slow poll, and the pace of looking.

A ring says only that something may be new. Rings may be lost, so everyone who waits also looks after a
while unasked. When rings come fast, ringing is the waste: then the worker asks for silence and looks by
itself (`Pace`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from worker.engine.clock import Clock

OUTBOX: Final = "outbox"
DELIVERIES: Final = "deliveries"
JOBS: Final = "jobs"
ENDPOINTS: Final = "endpoints"
LANES: Final = (OUTBOX, DELIVERIES, JOBS, ENDPOINTS)
# Realtime reads the WAL, and a commit stands there some ms before other sessions see it: of 300 rings 15 came
# too early. So a ring that brought nothing is believed a little longer.
LOOK_AGAIN_AFTER: Final = (timedelta(milliseconds=5), timedelta(milliseconds=25))


class Bell:
    """Passes rings on to everyone attached. Never blocks."""

    def __init__(self) -> None:
        self._hearers: list[Callable[[str], None]] = []

    def attach(self, hear: Callable[[str], None]) -> None:
        self._hearers.append(hear)

    def ring(self, lane: str) -> None:
        for hear in self._hearers:
            hear(lane)

    def heard(self, payload: Mapping[str, Any]) -> None:
        """A ring from the database, which names a lane. Whatever else it says, there may be something new:
        it is from a later schema, perhaps."""
        lane = payload.get("lane")
        if lane in LANES:
            self.ring(str(lane))
        else:
            self.ring_all()

    def ring_all(self) -> None:
        """After a gap (a new subscription), in which any ring may have been lost."""
        for lane in LANES:
            self.ring(lane)


class Ear:
    """One listener's memory of rings: any number of them before the next wait are one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, at_most: timedelta) -> bool:
        """True when it rang, False when it is just time to look."""
        rang = await self._clock.wait(self._rung, at_most)
        self._rung.clear()
        return rang


class SecondLook:
    """Looks again soon after a ring that brought nothing, for it may have come too early."""

    def __init__(self) -> None:
        self._rung = False
        self._left: Iterator[timedelta] = iter(())

    def rang(self) -> None:
        self._rung = True

    def begins(self) -> None:
        """A look begins; it counts for every ring before it."""
        if self._rung:
            self._rung, self._left = False, iter(LOOK_AGAIN_AFTER)

    def found(self) -> None:
        """It brought something after all."""
        self._left = iter(())

    def pause(self, otherwise: timedelta) -> timedelta:
        """How long to wait for a ring before the next look."""
        return min(otherwise, next(self._left, otherwise))


@dataclass(frozen=True, slots=True)
class PaceRules:
    """How fast is fast; times as measured in docs/decisions and DESIGN §2."""

    rings: int = 10
    within: timedelta = timedelta(seconds=1)
    look_every: timedelta = timedelta(milliseconds=12)
    """From the beginning of a look to that of the next, with `least_pause` between them."""
    least_pause: timedelta = timedelta(milliseconds=2)
    quiet_after: timedelta = timedelta(seconds=1)
    linger: timedelta = timedelta(seconds=2)
    silence_for: timedelta = timedelta(seconds=2)
    refresh_every: timedelta = timedelta(seconds=1)
    poll: timedelta = timedelta(seconds=1)


Mood = Literal["asleep", "awake", "lingering"]


class Pace:
    """Asleep: wait for a ring or the poll. Awake: writers are asked not to ring, and the worker looks
    every `look_every`. Lingering: ringing is allowed again, but a writer that read the old mark may still
    commit silently, so it goes on looking fast for `linger`. Pure: the time is handed in, in seconds.
    """

    def __init__(self, rules: PaceRules) -> None:
        self.rules = rules
        self.mood: Mood = "asleep"
        self._rings: deque[float] = deque(maxlen=rules.rings + 1)
        self._last_found = float("-inf")
        self._lowered_at = float("-inf")
        self._refreshed_at = float("-inf")

    def rang(self, now: float) -> None:
        self._rings.append(now)

    def looked(self, now: float, *, found: bool) -> None:
        """Takes note of a look and changes the mood."""
        if found:
            self._last_found = now
        if self.mood == "awake":
            if now - self._last_found >= self.rules.quiet_after.total_seconds():
                self.mood, self._lowered_at = "lingering", now
                self._rings.clear()
        elif self._ringing_fast(now):
            self.mood, self._last_found = "awake", now
            self._refreshed_at = float("-inf")
        elif self.mood == "lingering" and now - self._lowered_at >= self.rules.linger.total_seconds():
            self.mood = "asleep"

    def wants_silence(self, now: float) -> bool:
        """Whether it is time to ask (again) for silence."""
        return self.mood == "awake" and now - self._refreshed_at >= self.rules.refresh_every.total_seconds()

    def silenced(self, now: float) -> None:
        self._refreshed_at = now

    def pause(self, took: timedelta = timedelta(0)) -> timedelta:
        """How long to wait for a ring before the next look, after one that took so long."""
        if self.mood == "asleep":
            return self.rules.poll
        return max(self.rules.least_pause, self.rules.look_every - took)

    def _ringing_fast(self, now: float) -> bool:
        full = len(self._rings) > self.rules.rings
        return full and now - self._rings[0] <= self.rules.within.total_seconds()
