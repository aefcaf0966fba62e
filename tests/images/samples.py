"""Pictures for tests, encoded by libvips, with what is added to their containers put there by hand."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pyvips  # type: ignore[import-untyped]  # ships no types

CORNERS = ((220, 20, 20), (20, 200, 20), (20, 20, 220), (240, 240, 240))
"""Top left, top right, bottom left, bottom right."""


def plain(width: int, height: int, colour: tuple[int, ...]) -> pyvips.Image:
    image = pyvips.Image.black(width, height, bands=len(colour)) + list(colour)
    return image.cast("uchar").copy(interpretation="srgb")


def quarters(width: int = 120, height: int = 80) -> pyvips.Image:
    """A picture that looks different however it is turned or mirrored."""
    parts = [plain(width // 2, height // 2, colour) for colour in CORNERS]
    return pyvips.Image.arrayjoin(parts, across=2)


def photograph(width: int, height: int, seed: int = 1) -> pyvips.Image:
    """Something with light, shapes and grain, unlike any other seed's."""
    shapes = pyvips.Image.perlin(width, height, cell_size=max(8, width // 4), seed=seed) * 100 + 128
    other = pyvips.Image.perlin(width, height, cell_size=max(8, width // 6), seed=seed + 1000) * 80 + 120
    grain = pyvips.Image.gaussnoise(width, height, sigma=4, mean=0, seed=seed)
    bands = shapes.bandjoin([other, (shapes + other) * 0.5])
    return (bands + grain).cast("uchar").copy(interpretation="srgb")


def stored(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """As a camera stores an upright picture that is to be shown by this orientation (EXIF tag 0x0112)."""
    turns = {
        1: lambda each: each,
        2: lambda each: each.fliphor(),
        3: lambda each: each.rot180(),
        4: lambda each: each.flipver(),
        5: lambda each: each.rot90().fliphor(),
        6: lambda each: each.rot270(),
        7: lambda each: each.rot270().fliphor(),
        8: lambda each: each.rot90(),
    }
    turned: pyvips.Image = turns[orientation](image)
    return turned


def encode(image: pyvips.Image, kind: str, **how: Any) -> bytes:
    """`jpeg`, `png`, `webp`, `gif` or `avif`; without the EXIF that libvips likes to add."""
    how = {"keep": "none", **how}
    if kind == "avif":
        how = {"compression": "av1", "effort": 0, **how}
    suffix = {"jpeg": ".jpg", "avif": ".avif"}.get(kind, f".{kind}")
    return bytes(image.write_to_buffer(suffix, **how))


def animation(frames: int, kind: str = "gif", side: int = 32) -> bytes:
    pages = [plain(side, side, (10 * n % 250, 255 - 10 * n % 250, 40)) for n in range(frames)]
    strip = pyvips.Image.arrayjoin(pages, across=1)
    return bytes(strip.write_to_buffer(f".{kind}", page_height=side))


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + jpeg_segment(marker, body) + jpeg[2:]


def with_exif(picture: bytes, block: bytes) -> bytes:
    """A JPEG, PNG or WebP with an EXIF block in its own way of having one."""
    if picture[:2] == b"\xff\xd8":
        return with_segment(picture, 0xE1, b"Exif\0\0" + block)
    if picture[:4] == b"\x89PNG":
        return with_chunk(picture, b"eXIf", block)
    return with_riff_chunk(picture, b"EXIF", block, flag=0x08)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """Right behind the header."""
    return png[:33] + chunk(kind, body) + png[33:]


def with_riff_chunk(webp: bytes, kind: bytes, body: bytes, *, flag: int) -> bytes:
    """At the end; a simple file becomes an extended one."""
    parts = webp[12:]
    if parts[:4] != b"VP8X":
        at = 8 + (6 if parts[:4] == b"VP8 " else 1)
        width, height = struct.unpack("<HH", parts[at : at + 4]) if parts[:4] == b"VP8 " else (0, 0)
        assert width, "only the lossy kind is made extended here"
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        parts = b"VP8X" + struct.pack("<I", 10) + bytes([0, 0, 0, 0]) + size + parts
    parts = parts[:8] + bytes([parts[8] | flag]) + parts[9:]
    parts += kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts
