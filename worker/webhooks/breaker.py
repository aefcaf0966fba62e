"""How much one endpoint gets at a time. Pure: the monotonic time in seconds and the dice are handed in.

open      up to the endpoint's own concurrency
parked    after `FAILURES_TO_PARK` failures in a row: one probe every 30 s, and nothing else
slow      after the first success of a parked lane: 1 at a time, then 2, 4, … until it is open again;
          one failure parks it again, so that a herd never hits an endpoint that has just come back
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES_TO_PARK: Final = 5
PROBE_SECONDS: Final = 30.0
PROBE_JITTER: Final = 0.2
LONGEST_HOLD_SECONDS: Final = 3600.0
FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(slots=True)
class Breaker:
    """One lane's. `not_before`: nothing is sent earlier than this moment."""

    parked: bool = False
    not_before: float = float("-inf")
    _failures: int = 0
    _slow: int | None = None
    _streak: int = 0
    _pauses: int = 0

    def allowance(self, most: int) -> int:
        """How many may be under way at once, of at most `most`."""
        if self.parked:
            return 1
        return most if self._slow is None else min(self._slow, most)

    def succeeded(self, most: int) -> None:
        """The endpoint took a delivery."""
        self._failures = self._pauses = 0
        if self.parked:
            self.parked, self._slow, self._streak = False, 1, 0
            self.not_before = float("-inf")
        elif self._slow is not None:
            self._streak += 1
            if self._streak >= self._slow:
                self._slow, self._streak = self._slow * 2, 0
            if self._slow >= most:
                self._slow = None

    def failed(self, now: float, *, dice: float) -> bool:
        """The endpoint failed by its own fault; True when this parks the lane that was not parked."""
        self._failures += 1
        self._pauses = 0
        was_parked = self.parked
        if was_parked or self._slow is not None or self._failures >= FAILURES_TO_PARK:
            self.parked, self._slow = True, None
            wait = PROBE_SECONDS * (1 + PROBE_JITTER * dice)
            self.not_before = max(self.not_before, now + wait)
        return self.parked and not was_parked

    def hold(self, now: float, seconds: float) -> None:
        """The endpoint asked for a pause (`Retry-After`)."""
        self.not_before = max(self.not_before, now + min(seconds, LONGEST_HOLD_SECONDS))

    def paused_by_us(self, now: float, *, dice: float) -> None:
        """Our own fault kept us from sending: pause for 2, 4, 8 … 60 s, and hold nothing against it."""
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(self._pauses, 10), LONGEST_PAUSE_SECONDS)
        self._pauses += 1
        self.not_before = max(self.not_before, now + seconds * (0.5 + dice / 2))
