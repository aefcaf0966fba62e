"""What is known of a picture, and why one is refused; plain data, so that every part can speak of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from worker.errors import WorkerError

Why = Literal["crash", "time", "memory"]
DERIVED: Final[Mapping[str, int]] = {"thumbnail": 320, "card": 800, "zoom": 1600}
"""The longest side, in pixels, of what is derived from the master; never enlarged."""


class Unfit(WorkerError):
    """The file is no picture that can be served, and will not become one by trying again.

    `code` is stable (`image.truncated`; listed in docs/errors.md), `detail` a sentence for a person.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class WorkshopLost(WorkerError):
    """The process that worked on a picture ended before it had answered.

    `why`: it crashed, it took too long (wall clock or CPU), or it wanted more memory than it may have.
    """

    def __init__(self, why: Why, detail: str) -> None:
        self.why: Why = why
        self.detail = detail
        super().__init__(f"{why}: {detail}")


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file to be served; sizes in pixels, `bytes` on disk."""

    name: str
    """`master`, `thumbnail`, `card` or `zoom`."""
    format: str
    """`webp` or `avif`."""
    width: int
    height: int
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that passed. The facts are about the source; its metadata itself is kept nowhere."""

    sha256: str
    """Of the source's bytes, in hex."""
    format: str
    """By content: `jpeg`, `png`, `webp`, `gif` or `avif`."""
    source_bytes: int
    width: int
    height: int
    """In pixels, upright."""
    orientation: int
    """As EXIF has it, 1-8; 1 where nothing is said."""
    animated: bool
    has_alpha: bool
    color_space: str
    """`rgb`, `grey` or `cmyk`, with the name of the embedded profile if there is one: `rgb (Display P3)`."""
    had_gps: bool
    had_metadata: bool
    """EXIF, XMP, IPTC or text was there."""
    appended: str
    """What a camera had put after the picture: empty, `padding`, `jpeg`, `video` or `unknown`."""
    dominant_colors: list[str]
    """At most five, `#rrggbb`, the most frequent first; empty when nothing is visible."""
    blurhash: str
    perceptual_hash: str
    """64 bits as 16 hex digits; see `worker/images/likeness.py`."""
    renditions: list[Rendition]

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        for rendition in told["renditions"]:
            rendition["path"] = str(rendition["path"])
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        renditions = [Rendition(**{**each, "path": Path(each["path"])}) for each in told["renditions"]]
        return cls(**{**told, "renditions": renditions})
