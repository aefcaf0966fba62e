"""How much a picture may take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

MEGA = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory_bytes` is what the decoder's process may allocate (RLIMIT_DATA), its code not counted."""

    source_bytes: int = 50 * MIB
    pixels: int = 100 * MEGA
    side: int = 30_000
    frames: int = 2_000
    steps: int = 500_000
    """Segments, chunks, boxes and blocks that a file is made of."""
    inflated_bytes: int = 8 * MIB
    """What a compressed profile or text may unpack to."""
    memory_bytes: int = 400 * MIB
    picture_bytes: int = 256 * MIB
    """What decoding may need by the header's word; above it a picture is refused before it is decoded."""
    cpu: timedelta = timedelta(seconds=40)
    wall: timedelta = timedelta(seconds=120)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cpu": self.cpu.total_seconds(), "wall": self.wall.total_seconds()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        spans = {name: timedelta(seconds=told[name]) for name in ("cpu", "wall")}
        return cls(**{**told, **spans})
