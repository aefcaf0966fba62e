"""Decoding, and making what is served: the only module that touches libvips, and only in a child process.

A file comes here when its header has been believed to be harmless. libvips may load what `LOADERS` names and
nothing else, so that no file reaches a decoder that its first bytes did not promise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips  # type: ignore[import-untyped]  # ships no types

from worker.images.blurhash import blurhash
from worker.images.colours import dominant_colors
from worker.images.formats.header import Header, corrupt, truncated
from worker.images.icc import profile_name
from worker.images.likeness import SIDE, perceptual_hash
from worker.images.picture import DERIVED, Rendition
from worker.images.room import room

LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "webp": "VipsForeignLoadWebp",
    "gif": "VipsForeignLoadNsgif",
    "avif": "VipsForeignLoadHeif",
}
MASTER = 2560
# AVIF's efforts: 1 takes three times as long as 0 and saves up to a tenth, which pays for small pictures only
AVIF_EFFORT = {"thumbnail": 1, "card": 1, "zoom": 0}
WEBP = {"Q": 82, "effort": 2, "keep": "none"}
AVIF = {"Q": 60, "compression": "av1", "keep": "none"}
FORMATS: tuple[str, ...] = ("webp", "avif")
CUT_SHORT = re.compile(r"(?i)truncat|premature|end of (file|image|stream)|unexpected eof|read error")
# warnings of libjpeg (jerror.h): HIT_MARKER, JPEG_EOF, HUFF_BAD_CODE, MUST_RESYNC, BOGUS_PROGRESSION
PIXELS_LOST = re.compile(r"premature end|bad Huffman code|instead of RST|Inconsistent progression")
NO_MEMORY = re.compile(
    r"(?i)(out of|insufficient|not enough|no) memory|(un|not )able to allocate|failed to alloc|memory alloc"
)


class OutOfMemory(Exception):
    """A decoder or encoder got none."""


def set_up() -> None:
    """Once, before the first picture: one thread, no cache, no loader but ours."""
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in LOADERS.values():
        pyvips.operation_block_set(loader, False)


def develop(source: Path, into: Path, header: Header, *, derivatives: bool) -> Mapping[str, Any]:
    """What `Picture` says that only the pixels can tell; the renditions are in `into`. Raises `Unfit`."""
    with _refusals():
        facts = _facts(source, header)
        master = _master(source, header.format)
        renditions = list(_renditions(master, into, derivatives=derivatives))
        return {**facts, **_looks(master), "renditions": renditions, "has_alpha": _sees_through(master)}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory from error
    except pyvips.Error as error:
        said = str(error)
        if NO_MEMORY.search(said):
            raise OutOfMemory from error
        if CUT_SHORT.search(said):
            raise truncated() from error
        raise corrupt("it cannot be decoded") from error


def _facts(source: Path, header: Header) -> dict[str, Any]:
    image = pyvips.Image.new_from_source(pyvips.Source.new_from_file(str(source)), "", access="sequential")
    if image.width * image.height > header.width * header.height:
        raise corrupt("it is larger than it says")
    fields = set(image.get_fields())
    orientation = image.get("orientation") if "orientation" in fields else 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    width, height = (image.height, image.width) if orientation >= 5 else (image.width, image.height)
    texts = [_blob(image, name) for name in ("exif-data", "xmp-data", "iptc-data") if name in fields]
    return {
        "width": width,
        "height": height,
        "orientation": orientation,
        "color_space": _color_space(image),
        "had_gps": _has_gps(fields, texts),
        "had_metadata": header.has_text or any(texts),
    }


def _blob(image: pyvips.Image, name: str) -> bytes:
    value = image.get(name)
    return value if isinstance(value, bytes) else str(value).encode()


def _has_gps(fields: set[str], texts: list[bytes]) -> bool:
    """EXIF's fourth directory (`ifd3`) is the GPS one, in libexif's count; XMP spells the names out."""
    return any(name.startswith("exif-ifd3-") for name in fields) or any(b"GPSL" in text for text in texts)


def _color_space(image: pyvips.Image) -> str:
    name = {"cmyk": "cmyk", "b-w": "grey", "grey16": "grey"}.get(image.interpretation, "rgb")
    if image.get_typeof("icc-profile-data"):
        return f"{name} ({profile_name(_blob(image, 'icc-profile-data')) or 'own profile'})"
    return name


def _master(source: Path, kind: str) -> pyvips.Image:
    """Upright, sRGB of eight bits, with alpha if there was any, decoded to its last pixel.

    libjpeg only warns when pixels are missing, and paints grey; it warns of much that does not matter, too.
    """
    if kind == "jpeg":
        try:
            return _decoded(source, "warning")
        except pyvips.Error as error:
            if PIXELS_LOST.search(str(error)):
                raise
    return _decoded(source, "error")


def _decoded(source: Path, fail_on: str) -> pyvips.Image:
    image = pyvips.Image.thumbnail_source(
        pyvips.Source.new_from_file(str(source)),
        MASTER,
        height=MASTER,
        size="down",
        option_string=f"fail_on={fail_on}",  # libvips 8.18 forgets the argument `fail_on` of this one
        export_profile="srgb",
        intent="relative",
    )
    return _plain(image).copy_memory()


def _plain(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands > 4:
        image = image.extract_band(0, n=4)
    return image


def _renditions(master: pyvips.Image, into: Path, *, derivatives: bool) -> Iterator[Rendition]:
    yield _write(master, into, "master", "webp")
    for name, side in DERIVED.items() if derivatives else ():
        small = _within(master, side)
        for kind in FORMATS:
            yield _write(small, into, name, kind)


def _within(image: pyvips.Image, side: int) -> pyvips.Image:
    return image.thumbnail_image(side, height=side, size="down").copy_memory()


def _write(image: pyvips.Image, into: Path, name: str, kind: str) -> Rendition:
    path = into / f"{name}.{kind}"
    if kind == "webp":
        written = image.webpsave_buffer(**WEBP)
    else:
        written = image.heifsave_buffer(effort=AVIF_EFFORT[name], **AVIF)
    with room():
        path.write_bytes(written)
    return Rendition(name, kind, image.width, image.height, path, len(written))


def _sees_through(master: pyvips.Image) -> bool:
    return bool(master.hasalpha() and master[-1].min() < 255)


def _looks(master: pyvips.Image) -> dict[str, Any]:
    """Small pictures are enough to say how one looks. What is clear lies on white."""
    solid = master.flatten(background=255) if master.hasalpha() else master
    seen = master if master.hasalpha() else master.bandjoin(255)
    square = _square(solid)
    grey = square.colourspace("b-w")
    colours = seen.thumbnail_image(64, height=64, size="down").write_to_memory()
    return {
        "dominant_colors": dominant_colors(bytes(colours)),
        "blurhash": blurhash(bytes(square.write_to_memory()), SIDE, SIDE),
        "perceptual_hash": perceptual_hash(bytes(grey.write_to_memory())),
    }


def _square(solid: pyvips.Image) -> pyvips.Image:
    return solid.thumbnail_image(SIDE, height=SIDE, size="force").cast("uchar")
