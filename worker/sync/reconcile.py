"""Whether a copy is right: checksums of ranges, compared until what differs is a handful of rows.

The server splits what differs and says what it has there; so of 100,000 rows a wrong one is found in four
calls, and only what differs is sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from typing import Any, Final

from worker.gateway.pms import Differences, Part, StoredRow

Report = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Differences]]
"""`report_state` of one entity. Raises `GatewayError`."""

_RANGES: Final = 64
_LEAF: Final = 100
_IDS: Final = 1000
_MODULUS: Final = 1 << 64


@dataclass(slots=True)
class Difference:
    """What a copy lacks or has otherwise, as the server has it, and what it has too much."""

    rows: list[StoredRow] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Sums:
    """Counts and checksums of ranges of ids of a copy: the first 8 bytes of sha256 of `id:version`, added."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self._versions = versions
        self._ids = sorted(versions)
        numbers = (_number(key, versions[key]) for key in self._ids)
        self._sums = [0, *accumulate(numbers)]

    def of(self, after: str | None, through: str | None) -> tuple[int, str]:
        first, end = self._between(after, through)
        return end - first, f"{(self._sums[end] - self._sums[first]) % _MODULUS:016x}"

    def leaves(self, after: str | None, through: str | None) -> list[dict[str, Any]]:
        """The range as ids and versions, in parts that fit into a call."""
        first, end = self._between(after, through)
        cuts = range(first + _LEAF, end, _LEAF)
        bounds = [after, *(self._ids[cut - 1] for cut in cuts), through]
        slices = zip([first, *cuts], [*cuts, end], strict=True)
        return [
            {"after": low, "through": high, "rows": {key: self._versions[key] for key in self._ids[a:b]}}
            for low, high, (a, b) in zip(bounds, bounds[1:], slices, strict=False)
        ]

    def _between(self, after: str | None, through: str | None) -> tuple[int, int]:
        first = 0 if after is None else bisect_right(self._ids, after)
        end = len(self._ids) if through is None else bisect_right(self._ids, through)
        return first, end


async def difference(versions: Mapping[str, int], report: Report) -> Difference:
    """What a copy whose rows have these versions has otherwise than the server."""
    sums, found = Sums(versions), Difference()
    count, checksum = sums.of(None, None)
    asked = [{"after": None, "through": None, "count": count, "checksum": checksum}]
    while asked:
        answer = await report(asked[: (some := _fitting(asked))])
        found.rows += answer.rows
        found.gone += answer.gone
        # in the order of ids, which calls must keep
        asked = asked[some:] + [each for part in answer.ranges for each in _next(part, sums)]
    return found


def _next(part: Part, sums: Sums) -> list[dict[str, Any]]:
    """What to report of a part of which the server says what it has."""
    count, checksum = sums.of(part.after, part.through)
    if not part.leaf and (count, checksum) == (part.count, part.checksum):
        return []
    if part.leaf or part.count <= _LEAF:
        return sums.leaves(part.after, part.through)
    return [{"after": part.after, "through": part.through, "count": count, "checksum": checksum}]


def _fitting(asked: Sequence[Mapping[str, Any]]) -> int:
    """How many of these fit into one call: a number of ranges and of ids, one behind the other."""
    ids, last = 0, None
    for n, each in enumerate(asked):
        ids += len(each.get("rows", ()))
        behind = n == 0 or (each["after"] is not None and last is not None and each["after"] >= last)
        if n >= _RANGES or ids > _IDS or not behind:
            return max(n, 1)
        last = each["through"]
    return len(asked)


def _number(row_id: str, version: int) -> int:
    return int.from_bytes(sha256(f"{row_id}:{version}".encode()).digest()[:8], "big")
