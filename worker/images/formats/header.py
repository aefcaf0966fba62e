"""What a file says of itself before anything is decoded, and the careful reading that finds it out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from mmap import mmap

from worker.images.limits import Limits
from worker.images.picture import Unfit

Data = bytes | mmap


@dataclass(slots=True)
class Header:
    """Claims of a file, not yet proven.

    `end` is where the picture ends in the file; `bytes_per_pixel` what a decoder holds at once for each
    pixel (0 if it works line by line); `texts` the parts that no decoder turns into pixels.
    """

    format: str
    width: int = 0
    height: int = 0
    frames: int = 1
    end: int = 0
    bytes_per_pixel: float = 0.0
    has_text: bool = False
    """Text chunks and comments; EXIF, XMP and IPTC are found by the decoder."""
    texts: list[bytes] = field(default_factory=list)


class Walk:
    """Reads a file with every step counted and every read inside its bounds. Raises `Unfit`."""

    def __init__(self, data: Data, limits: Limits, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.limits = limits
        self.at = at
        self.end = len(data) if end is None else end
        self.steps = 0

    @property
    def left(self) -> int:
        return self.end - self.at

    def step(self) -> None:
        self.steps += 1
        if self.steps > self.limits.steps:
            raise Unfit("image.bomb", "The file is made of far too many parts to be an ordinary picture.")

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise truncated()
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def skip(self, count: int) -> None:
        if count > self.left:
            raise truncated()
        self.at += count

    def number(self, size: int, *, little: bool = False) -> int:
        return int.from_bytes(self.take(size), "little" if little else "big")


def truncated() -> Unfit:
    return Unfit(
        "image.truncated", "The file ends before the picture does; it was probably not copied whole."
    )


def corrupt(what: str) -> Unfit:
    return Unfit("image.corrupt", f"The file is damaged: {what}.")


def inflate(packed: bytes, limits: Limits) -> bytes:
    """A compressed text or profile. Raises `Unfit` when it unpacks to more than it may."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, limits.inflated_bytes)
    except zlib.error as error:
        raise corrupt("a compressed part of it cannot be unpacked") from error
    if unpacker.unconsumed_tail:
        raise Unfit("image.bomb", "A small part of the file unpacks to far more than a picture needs.")
    return unpacked
