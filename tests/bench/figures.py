"""How figures are made and said."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]
"""What one benchmark says, as JSON: times end in `_ms`, rates in `_per_s`."""


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """`{"p50_ms", "p99_ms", "max_ms"}`, by nearest rank. Raises `ValueError` without samples."""
    ordered = sorted(seconds)
    if not ordered:
        raise ValueError("no samples")

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 2)

    return {"p50_ms": rank(0.5), "p99_ms": rank(0.99), "max_ms": rank(1)}


async def timed(work: Callable[[], Awaitable[object]], times: int, *, warm_up: int = 20) -> list[float]:
    """Seconds that each of `times` calls took, one after another, after `warm_up` that do not count."""
    for _ in range(warm_up):
        await work()
    taken: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - started)
    return taken


def middle(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over several runs."""
    return {name: statistics.median(each[name] for each in figures) for name in figures[0]}


def per_second(count: int, seconds: float) -> int:
    return round(count / seconds)
