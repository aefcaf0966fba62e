"""JPEG (ITU-T T.81, annex B): markers and their segments."""

from __future__ import annotations

import re

from worker.images.formats.header import Data, Header, Walk, corrupt, truncated
from worker.images.limits import Limits
from worker.images.picture import Unfit

MOST_SCANS = 100
SOI, EOI, SOS, COM, APP0, APP2, APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE2, 0xEF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# in a scan, 0xFF is followed by 0 (stuffed), a restart marker or more 0xFF; anything else ends it
SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def read(data: Data, limits: Limits) -> Header:
    header, walk, scans, progressive, coefficients = Header("jpeg"), Walk(data, limits, at=2), 0, False, 0.0
    while (marker := _marker(walk)) != EOI:
        if marker in ALONE:
            continue
        if marker == SOI:
            raise corrupt("a second picture begins inside the first")
        length = walk.number(2)
        if length < 2:
            raise corrupt("a segment is shorter than it can be")
        segment = walk.take(length - 2)
        if marker in FRAMES:
            if header.width:
                raise corrupt("it has two frame headers")
            progressive = marker in PROGRESSIVE
            coefficients = _frame(header, segment)
        elif marker == SOS:
            scans += 1
            _scan(walk, header, scans)
        else:
            _text(header, marker, segment)
    if not scans:
        raise corrupt("there is no picture in it")
    header.end = walk.at
    # several scans mean that the coefficients of the whole picture are held, two bytes each
    header.bytes_per_pixel = 2 * coefficients if progressive or scans > 1 else 0.0
    return header


def _marker(walk: Walk) -> int:
    walk.step()
    if walk.number(1) != 0xFF:
        raise corrupt("something stands between its segments")
    while (marker := walk.number(1)) == 0xFF:
        pass
    return marker


def _frame(header: Header, segment: bytes) -> float:
    """Coefficients for a pixel."""
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise corrupt("its frame header is too short")
    header.height, header.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    sampling = [segment[7 + 3 * n] for n in range(segment[5])]
    shares = [(each >> 4) * (each & 15) for each in sampling]
    most = max((each >> 4 for each in sampling), default=0) * max((each & 15 for each in sampling), default=0)
    if not most:
        raise corrupt("its frame header makes no sense")
    return sum(shares) / most


def _scan(walk: Walk, header: Header, scans: int) -> None:
    if not header.width:
        raise corrupt("its pixels come before their frame header")
    if scans > MOST_SCANS:
        raise Unfit("image.bomb", f"The picture is painted over more than {MOST_SCANS} times.")
    found = SCAN_END.search(walk.data, walk.at)
    if found is None:
        raise truncated()
    walk.at = found.start()


def _text(header: Header, marker: int, segment: bytes) -> None:
    if marker == APP2 and segment.startswith(b"ICC_PROFILE\0"):
        return
    if marker == COM or APP0 <= marker <= APP15:
        header.texts.append(segment)
        header.has_text |= marker == COM
    if marker == APP0 and segment.startswith(b"JFIF\0") and len(segment) >= 14:
        thumbnail = 3 * segment[12] * segment[13]
        if len(segment) > 14 + thumbnail:  # a length of 0x2F2A reads as the start of a comment in JavaScript
            raise Unfit("image.polyglot", "The file hides something in its header that is no picture.")
