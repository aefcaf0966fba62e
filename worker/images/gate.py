"""Whether the image host takes anything at present: else a thousand pictures were fetched to no purpose."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.retry import Backoff

FIRST: Final = timedelta(seconds=5)
LONGEST: Final = timedelta(minutes=5)
AT_MOST: Final = timedelta(seconds=20)


class HostGate:
    """Shut for a while by whoever meets a host that is away, longer each time until somebody passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._backoff = Backoff(first=FIRST, longest=LONGEST)
        self._opens = 0.0

    @property
    def shut_for(self) -> timedelta:
        """Zero: it is open."""
        return timedelta(seconds=max(0.0, self._opens - self._clock.monotonic()))

    async def passable(self) -> timedelta:
        """Waits for the gate to open, up to 20 s; for how long it is shut still. Whoever waits holds a slot:
        else all that is due would be claimed, and put back, as fast as the database allows."""
        if self.shut_for > timedelta(0):
            await self._clock.sleep(min(self.shut_for, AT_MOST))
        return self.shut_for

    def shut(self, wait: timedelta | None = None) -> timedelta:
        """The host is away, and asked for `wait`; how long it is shut."""
        if (left := self.shut_for) > (wait or timedelta(0)):
            return left  # those who were on their way with whoever shut it say nothing new
        pause = max(self._backoff.next(), wait or timedelta(0))
        self._opens = self._clock.monotonic() + pause.total_seconds()
        return pause

    def passed(self) -> None:
        """The host took something."""
        self._backoff.reset()
