"""Small real pictures without a library, each of its own bytes."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from worker.images.picture import Rendition

SIDE = 8


def png(seed: str) -> bytes:
    """A valid PNG of 8 x 8 pixels whose colours come from `seed`."""
    colours = hashlib.sha512(seed.encode()).digest() * 3
    rows = b"".join(b"\0" + colours[y * SIDE * 3 % 64 :][: SIDE * 3].ljust(SIDE * 3) for y in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def public_id(seed: str, *, tenant: str | None = None) -> str:
    return f"{tenant or uuid4()}/{hashlib.sha256(seed.encode()).hexdigest()}"


def renditions(directory: Path, seed: str, *, names: Sequence[str] = ("master",)) -> list[Rendition]:
    """Files on disk, as the workshop leaves them."""
    made = []
    for name in names:
        path = directory / f"{hashlib.sha256(seed.encode()).hexdigest()[:16]}-{name}.png"
        path.write_bytes(png(f"{seed} {name}"))
        made.append(Rendition(name, "png", SIDE, SIDE, path, path.stat().st_size))
    return made
