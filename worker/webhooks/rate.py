"""How fast one endpoint gets requests. Pure: the monotonic time in seconds is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLACK_SECONDS: Final = 0.04
"""How much may be caught up at once, because timers are late: 4 % of a second's worth, and never more."""


@dataclass(slots=True)
class Rate:
    """A token bucket, kept as the moment at which it would be full again (GCRA, ITU-T I.371).

    In any second it lets through at most `per_second` × (1 + `SLACK_SECONDS`) + 1. `per_second` None: no
    limit.
    """

    per_second: int | None = None
    _full_at: float = float("-inf")

    @property
    def not_before(self) -> float:
        """When the next request may start."""
        return float("-inf") if self.per_second is None else self._full_at - SLACK_SECONDS

    def take(self, now: float) -> None:
        """A request starts."""
        if self.per_second is not None:
            self._full_at = max(self._full_at, now) + 1 / self.per_second
