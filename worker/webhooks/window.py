"""How many requests an endpoint gets at once: more while it answers well, half when it is overloaded. Pure.

Additive increase and multiplicative decrease, as TCP does it (RFC 5681): one more for every answer until the
first sign of overload, from then on one more for every whole window of answers. Signs of overload are 429,
5xx and time-outs. Of the requests that were under way together only the first sign counts: they all saw the
same overload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST: Final = 4.0


@dataclass(slots=True)
class Window:
    """One lane's. `now` and `started` are monotonic seconds."""

    _size: float = FIRST  # at least 1
    _met_limit: bool = False
    _cut_at: float = float("-inf")

    def allowance(self, most: int) -> int:
        """How many may be under way at once, of at most `most`."""
        return most if self._size >= most else int(self._size)

    def succeeded(self, most: int) -> None:
        """An answer came that was no sign of overload."""
        if self._size < most:
            self._size += 1 / self._size if self._met_limit else 1.0

    def overloaded(self, now: float, *, started: float) -> None:
        """A request that began at `started` met overload."""
        if started < self._cut_at:
            return
        self._size, self._met_limit, self._cut_at = max(1.0, self._size / 2), True, now

    def shrunk_to(self, most: int) -> None:
        """The endpoint's own limit was lowered: growth starts from there."""
        self._size = min(self._size, float(most))
