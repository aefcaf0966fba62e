"""EXIF blocks made by hand (CIPA DC-008): with a place, a camera, a text and a small picture in them."""

from __future__ import annotations

import struct

ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
SIZES = {ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8}
CAMERA = b"Leica SECRETCAM\0"
PLACE = (52, 31, 12)
Entry = tuple[int, int, bytes]


def exif(orientation: int = 1, *, gps: bool = True, thumbnail: bytes = b"") -> bytes:
    """A TIFF block, little-endian."""
    camera: list[Entry] = [(0x010F, ASCII, CAMERA), (0x0112, SHORT, struct.pack("<H", orientation))]
    place: list[Entry] = [
        (1, ASCII, b"N\0"),
        (2, RATIONAL, b"".join(struct.pack("<II", each, 1) for each in PLACE)),
        (3, ASCII, b"E\0"),
        (4, RATIONAL, b"".join(struct.pack("<II", each, 1) for each in (13, 24, 36))),
    ]
    head = b"II*\0" + struct.pack("<I", 8)
    if not gps:
        return head + _directory(camera, 8)
    pointer = (0x8825, LONG, struct.pack("<I", 0))
    at = 8 + len(_directory([*camera, pointer], 8))
    first = _directory([*camera, (0x8825, LONG, struct.pack("<I", at))], 8)
    return head + first + _directory(place, at) + thumbnail


def _directory(entries: list[Entry], at: int) -> bytes:
    """With its values behind it, wherever they do not fit into four bytes."""
    fields, values, after = b"", b"", at + 2 + 12 * len(entries) + 4
    for tag, kind, value in sorted(entries):
        fields += struct.pack("<HHI", tag, kind, len(value) // SIZES[kind])
        if len(value) <= 4:
            fields += value.ljust(4, b"\0")
        else:
            fields += struct.pack("<I", after + len(values))
            values += value
    return struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0) + values


XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,31.2N" exif:GPSLongitude="13,24.6E"/>'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
