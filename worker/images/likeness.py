"""A hash that stays nearly the same when a picture is scaled or encoded anew.

The DCT hash of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010): the 64
lowest frequencies of a grey picture of 32 x 32, each a bit that says whether it lies above their median.
"""

from __future__ import annotations

import math
import statistics

SIDE, KEPT = 32, 8
NEAR = 6
"""Two pictures whose hashes differ in at most so many of the 64 bits are likely the same one."""
_WAVES = [[math.cos(math.pi * (2 * n + 1) * k / (2 * SIDE)) for n in range(SIDE)] for k in range(KEPT + 1)]


def perceptual_hash(grey: bytes) -> str:
    """16 hex digits, of `SIDE` x `SIDE` bytes of grey. One colour all over gives sixteen zeros."""
    rows = [grey[n * SIDE : (n + 1) * SIDE] for n in range(SIDE)]
    # the constant part is left out: it says how bright a picture is, not what it shows
    across = [[sum(map(float.__mul__, wave, map(float, row))) for wave in _WAVES[1:]] for row in rows]
    columns = list(zip(*across, strict=True))
    parts = [sum(map(float.__mul__, wave, column)) for wave in _WAVES[1:] for column in columns]
    middle = statistics.median(parts)
    steady = [part if abs(part) > 1 else 0.0 for part in parts]
    if not any(steady):
        return "0" * 16
    bits = sum(1 << 63 - n for n, part in enumerate(steady) if part > middle)
    return f"{bits:016x}"


def distance(one: str, other: str) -> int:
    """How many bits differ, 0-64."""
    return (int(one, 16) ^ int(other, 16)).bit_count()
