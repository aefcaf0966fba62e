"""Whether Supabase as a whole can be used, told from the calls of its functions."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.errors import BadAnswer, GatewayError

# longer than the pauses between the tries of whoever keeps failing
REMEMBER: Final = timedelta(seconds=15)


class Upstream:
    """Keeps `condition` down for as long as any function keeps failing.

    By the last call alone, one function that is missing while the others answer would make Supabase come
    and go with every call.
    """

    def __init__(self, condition: Condition, clock: Clock, *, away: tuple[type[GatewayError], ...]) -> None:
        """`away`: the errors that speak for the whole of Supabase; the rest is one call's own trouble."""
        self._condition, self._clock, self._away = condition, clock, away
        self._failed_at: dict[str, float] = {}

    def heard(self, function: str, error: GatewayError | None) -> None:
        """Takes note of a call's end."""
        if isinstance(error, self._away):
            self._failed(function, error)
        elif not isinstance(error, BadAnswer):
            # what cannot be read tells neither way: somebody else may have answered
            self._ok(function)

    def _failed(self, function: str, error: GatewayError) -> None:
        self._failed_at[function] = self._clock.monotonic()
        self._condition.failed(error)

    def _ok(self, function: str) -> None:
        self._failed_at.pop(function, None)
        since = self._clock.monotonic() - REMEMBER.total_seconds()
        self._failed_at = {name: at for name, at in self._failed_at.items() if at > since}
        if not self._failed_at:
            self._condition.ok()
