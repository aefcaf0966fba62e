"""PNG (W3C, third edition): chunks. Animated ones (acTL) are shown as their default image."""

from __future__ import annotations

from worker.images.formats.header import Data, Header, Walk, corrupt, inflate
from worker.images.limits import Limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
KNOWN = TEXTS | {b"eXIf", b"iCCP"}


def read(data: Data, limits: Limits) -> Header:
    header, walk, pixels = Header("png"), Walk(data, limits, at=len(SIGNATURE)), False
    while True:
        walk.step()
        length, kind = walk.number(4), walk.take(4)
        if kind == b"IHDR":
            _ihdr(header, walk.take(length))
        elif not header.width:
            raise corrupt("it does not begin with its size")
        elif kind == b"acTL":
            header.frames = int.from_bytes(walk.take(length)[:4], "big")
        elif kind in (b"IDAT", b"fdAT"):
            pixels = True
            walk.skip(length)
        else:
            _part(header, kind, walk.take(length), limits)
        walk.skip(4)  # the checksum is the decoder's business
        if kind == b"IEND":
            break
    if not pixels:
        raise corrupt("there is no picture in it")
    header.end = walk.at
    return header


def _ihdr(header: Header, body: bytes) -> None:
    if header.width or len(body) != 13:
        raise corrupt("its header makes no sense")
    header.width, header.height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, color, interlaced = body[8], body[9], body[12]
    if color not in CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise corrupt("its header makes no sense")
    if interlaced:  # all of it is held before the first line can leave, palettes as colours
        header.bytes_per_pixel = (4 if color == 3 else CHANNELS[color]) * max(1, depth // 8)


def _part(header: Header, kind: bytes, body: bytes, limits: Limits) -> None:
    header.has_text |= kind in TEXTS
    if kind == b"zTXt":
        body = inflate(body.partition(b"\0")[2][1:], limits)
    elif kind == b"iTXt":
        keyword, _, rest = body.partition(b"\0")
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        body = keyword + b"\0" + (inflate(text, limits) if packed else text)
    elif kind == b"iCCP":
        inflate(body.partition(b"\0")[2][1:], limits)
        return
    header.texts.append(body)
