"""WebP (RFC 9649): RIFF chunks."""

from __future__ import annotations

from worker.images.formats.header import Data, Header, Walk, corrupt, truncated
from worker.images.limits import Limits

PIXELS = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
SILENT = PIXELS | {b"ICCP", b"ALPH", b"ANIM", b"VP8X"}


def read(data: Data, limits: Limits) -> Header:
    header, walk = Header("webp", frames=0), Walk(data, limits, at=4)
    size = walk.number(4, little=True)
    header.end = 8 + size + size % 2
    if header.end > len(data) + size % 2:
        raise truncated()
    header.end = walk.end = min(header.end, len(data))
    walk.skip(4)
    while walk.left >= 8:
        walk.step()
        kind, length = walk.take(4), walk.number(4, little=True)
        start = walk.at
        _chunk(header, walk, kind, length)
        walk.at = start
        walk.skip(min(length + length % 2, walk.left) if length == walk.left else length + length % 2)
    if not header.frames:
        raise corrupt("there is no picture in it")
    return header


def _chunk(header: Header, walk: Walk, kind: bytes, length: int) -> None:
    if kind == b"VP8X":
        body = walk.take(10)
        _size(header, int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
    elif kind == b"VP8 ":
        body = walk.take(10)
        if body[3:6] != b"\x9d\x01\x2a":
            raise corrupt("its pixels do not begin as they must")
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        _size(header, width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L":
        body = walk.take(5)
        packed = int.from_bytes(body[1:], "little")
        _size(header, (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        header.bytes_per_pixel = 4.0  # held whole, unlike the lossy kind
    elif kind == b"ANMF":
        header.bytes_per_pixel = 8.0  # the canvas, and the frame that is laid on it
    elif kind not in SILENT:
        header.texts.append(walk.take(length))
    header.frames += kind in PIXELS


def _size(header: Header, width: int, height: int) -> None:
    """Of canvas or frame, whichever is larger: no decoder is to meet more than was checked."""
    header.width, header.height = max(header.width, width), max(header.height, height)
