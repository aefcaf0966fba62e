"""GIF (87a and 89a): a screen, and blocks upon it."""

from __future__ import annotations

from worker.images.formats.header import Data, Header, Walk, corrupt, truncated
from worker.images.limits import Limits

EXTENSION, IMAGE, TRAILER, COMMENT, APPLICATION = 0x21, 0x2C, 0x3B, 0xFE, 0xFF


def read(data: Data, limits: Limits) -> Header:
    header, walk = Header("gif", frames=0, bytes_per_pixel=8.0), Walk(data, limits, at=6)
    header.width, header.height = walk.number(2, little=True), walk.number(2, little=True)
    _table(walk, walk.take(3)[0])
    while walk.left:  # some writers leave the trailer out
        walk.step()
        kind = walk.number(1)
        if kind == TRAILER:
            break
        if kind == EXTENSION:
            _extension(header, walk)
        elif kind == IMAGE:
            _image(header, walk)
        else:
            raise corrupt("something stands between its blocks")
    if not header.frames:
        raise truncated() if not walk.left else corrupt("there is no picture in it")
    header.end = walk.at
    return header


def _table(walk: Walk, flags: int) -> None:
    if flags & 0x80:
        walk.skip(3 << ((flags & 7) + 1))


def _image(header: Header, walk: Walk) -> None:
    left, top, width, height = (walk.number(2, little=True) for _ in range(4))
    _table(walk, walk.number(1))
    walk.skip(1)
    header.frames += 1
    header.width, header.height = max(header.width, left + width), max(header.height, top + height)
    while length := walk.number(1):
        walk.step()
        walk.skip(length)


def _extension(header: Header, walk: Walk) -> None:
    kind, parts = walk.number(1), []
    while length := walk.number(1):
        walk.step()
        parts.append(walk.take(length))
    if kind in (COMMENT, APPLICATION):
        header.texts.append(b"".join(parts))
        header.has_text |= kind == COMMENT
