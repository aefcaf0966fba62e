"""Hybrid logical clocks: an order of edits that respects what their authors had seen, whatever clocks say.

Source: Kulkarni et al., Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases
(2014).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

MAX_DRIFT: Final = timedelta(seconds=60)
"""How far a client's clock may run ahead of the server's before its stamps are cut."""
_FORM: Final = re.compile(r"([0-9]{13})-([0-9]{4})-([A-Za-z0-9_.-]{1,64})")
_MOST: Final = 9999


class Stamp(NamedTuple):
    """When an edit was made: milliseconds since 1970, its number within the millisecond, and who made it.
    Stamps order as tuples do; as text, `1764201600123-0000-till-7`, they order alike."""

    millis: int
    number: int = 0
    client: str = ""

    def __str__(self) -> str:
        return f"{self.millis:013d}-{self.number:04d}-{self.client}"

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Raises `ValueError` for a text of another form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"not a stamp: {text[:80]!r}")
        return cls(int(match[1]), int(match[2]), match[3])

    @classmethod
    def at(cls, moment: datetime) -> Stamp:
        """Of a write that carried none, made at `moment`: before any client's of the same millisecond."""
        return cls(int(moment.timestamp() * 1000))

    def bounded(self, now: datetime) -> Stamp:
        """Itself, or cut to `MAX_DRIFT` after `now`: a clock that runs ahead must not win for years."""
        latest = int((now + MAX_DRIFT).timestamp() * 1000)
        return self if self.millis <= latest else Stamp(latest, 0, self.client)


class HybridClock:
    """Stamps of one client: each is later than all that it made or saw before."""

    def __init__(self, client: str, wall: Callable[[], datetime]) -> None:
        self._client, self._wall = client, wall
        self._last = Stamp(0)

    def stamp(self) -> Stamp:
        """The stamp of an edit made now."""
        wall = int(self._wall().timestamp() * 1000)
        millis, number, _ = self._last
        if wall > millis:
            millis, number = wall, 0
        else:
            millis, number = (millis, number + 1) if number < _MOST else (millis + 1, 0)
        self._last = Stamp(millis, number, self._client)
        return self._last

    def saw(self, stamp: Stamp) -> None:
        """What comes from here on is later than `stamp`."""
        self._last = max(self._last, stamp)
