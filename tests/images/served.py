"""Looks into what is served with other code than what wrote it: which parts a file has, and its pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import pyvips  # type: ignore[import-untyped]  # ships no types

from worker.images.picture import Rendition

TELL_TALES = (
    b"Exif",
    b"EXIF",
    b"GPS",
    b"xpacket",
    b"x:xmpmeta",
    b"8BIM",
    b"SECRET",
    b"http://",
    b"Leica",
    b"II*\0",
)


def parts(path: Path) -> set[str]:
    """The kinds of a WebP's chunks, or of an AVIF's boxes and items."""
    data = path.read_bytes()
    if data[:4] == b"RIFF":
        assert struct.unpack("<I", data[4:8])[0] + 8 == len(data), "something stands behind the picture"
        return set(_riff(data))
    assert data[4:12] == b"ftypavif", data[:12]
    return set(_boxes(data))


def _riff(data: bytes) -> list[str]:
    kinds, at = [], 12
    while at < len(data):
        kinds.append(data[at : at + 4].decode("ascii").strip())
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        at += 8 + size + size % 2
    return kinds


def _boxes(data: bytes) -> list[str]:
    """Top level, and the types of the items in `meta`'s `iinf`."""
    kinds, at = [], 0
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        kind = data[at + 4 : at + 8].decode("ascii")
        kinds.append(kind)
        if kind == "meta":
            body = data[at : at + size]
            found = body.find(b"infe")
            while found >= 0:  # version, flags, id, protection index: then the type
                kinds.append(body[found + 12 : found + 16].decode("ascii"))
                found = body.find(b"infe", found + 4)
        assert size >= 8, f"a box of {size} bytes"
        at += size
    return kinds


def bare(rendition: Rendition) -> bool:
    """Whether there is nothing in it but pixels and what is needed to show them."""
    allowed = {
        "webp": {"VP8", "VP8L", "VP8X", "ALPH"},
        "avif": {"ftyp", "meta", "mdat", "av01", "free"},
    }[rendition.format]
    data = rendition.path.read_bytes()
    return parts(rendition.path) <= allowed and not any(each in data for each in TELL_TALES)


def pixels(path: Path) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(path))


def at(path: Path, across: float, down: float) -> list[float]:
    """The colour at a place, given in shares of width and height."""
    image = pixels(path)
    colour: list[float] = image(int(image.width * across), int(image.height * down))
    return colour


def near(
    one: list[float] | tuple[float, ...], other: list[float] | tuple[float, ...], by: float = 12
) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= by for a, b in zip(one, other, strict=True))
