"""AVIF (AOMedia AV1 Image File Format, on ISO/IEC 14496-12 and 23008-12): boxes."""

from __future__ import annotations

from worker.images.formats.header import Data, Header, Walk, corrupt, truncated
from worker.images.limits import Limits

BRANDS = frozenset({b"avif", b"avis"})
INSIDE = {b"meta": 4, b"iprp": 0, b"ipco": 0}
TOP = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"styp", b"sidx", b"moof", b"idat"}
)
LOOSE = frozenset({b"free", b"skip", b"uuid"})
DEEPEST = 4
# the planes, the picture laid out as pixels, and what the decoder keeps beside them (measured: 14, 28 and 45)
PLAIN, RICH, RICHEST = 16.0, 30.0, 48.0


def is_avif(data: Data) -> bool:
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return data[4:8] == b"ftyp" and bool(brands & BRANDS)


def read(data: Data, limits: Limits) -> Header:
    header, walk = Header("avif", bytes_per_pixel=PLAIN), Walk(data, limits)
    seen: set[bytes] = set()
    if b"avis" in data[8:64]:
        header.frames = 2  # a sequence; only its cover is read
    while walk.left:
        start = walk.at
        kind = _kind(walk.data, start)
        if (kind not in TOP or kind == b"ftyp") and {b"meta", b"mdat"} <= seen:
            break  # not a box any more: the caller judges what is appended
        end = _box(header, walk, 0)
        seen.add(kind)
        walk.at = end
    if not header.width:
        raise corrupt("it does not say how large it is")
    header.end = walk.at
    return header


def _weight(flags: int) -> float:
    """Bytes a pixel, by the third byte of `av1C` (AV1 in ISO base media files, 2.3.3)."""
    deep, twelve, grey, halved = (bool(flags & bit) for bit in (0x40, 0x20, 0x10, 0x08))
    full = not grey and not halved
    return RICHEST if twelve or (deep and full) else RICH if deep or full else PLAIN


def _kind(data: Data, at: int) -> bytes:
    return data[at + 4 : at + 8]


def _box(header: Header, walk: Walk, depth: int) -> int:
    """Where it ends."""
    walk.step()
    start, size, kind = walk.at, walk.number(4), walk.take(4)
    if size == 1:
        size = walk.number(8)
    end = walk.end if size == 0 else start + size
    if end > walk.end:
        raise truncated()
    if end < walk.at:
        raise corrupt("a part of it is shorter than it can be")
    if kind == b"ispe":
        walk.skip(4)
        header.width = max(header.width, walk.number(4))
        header.height = max(header.height, walk.number(4))
    elif kind == b"av1C":
        header.bytes_per_pixel = max(header.bytes_per_pixel, _weight(walk.take(4)[2]))
    elif kind in LOOSE:
        header.texts.append(walk.data[walk.at : end])
    elif kind in INSIDE and depth < DEEPEST:
        inner = Walk(walk.data, walk.limits, at=walk.at + INSIDE[kind], end=end)
        inner.steps = walk.steps
        while inner.left >= 8:
            inner.at = _box(header, inner, depth + 1)
        walk.steps = inner.steps
    return end
