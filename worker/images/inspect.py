"""What a file is by its content, and whether it may be decoded at all. Nothing is decoded here."""

from __future__ import annotations

from worker.images.foreign import foreign
from worker.images.formats import avif, gif, jpeg, png, webp
from worker.images.formats.header import Data, Header
from worker.images.limits import MEGA, MIB, Limits
from worker.images.picture import Unfit
from worker.images.polyglot import appendix, refuse_polyglot


def inspect(data: Data, limits: Limits) -> tuple[Header, str]:
    """The header and what is appended (`Picture.appended`). Raises `Unfit`."""
    if len(data) > limits.source_bytes:
        raise Unfit("image.too_large", f"The file is larger than {limits.source_bytes // MIB} MB.")
    header = _header(data, limits)
    _check_size(header, limits)
    refuse_polyglot(data, header)
    return header, appendix(data, header.end)


def _header(data: Data, limits: Limits) -> Header:
    head = bytes(data[:16])
    if head.startswith(b"\xff\xd8\xff"):
        return jpeg.read(data, limits)
    if head.startswith(png.SIGNATURE):
        return png.read(data, limits)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return webp.read(data, limits)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return gif.read(data, limits)
    if avif.is_avif(data):
        return avif.read(data, limits)
    raise foreign(bytes(data[:4096]))


def _check_size(header: Header, limits: Limits) -> None:
    width, height = header.width, header.height
    if not width or not height:
        raise Unfit(
            "image.dimensions_absurd", f"The picture says that it is {width} x {height} pixels large."
        )
    if max(width, height) > limits.side:
        raise Unfit(
            "image.dimensions_absurd",
            f"The picture is {width} x {height} pixels large; a side may have {limits.side}.",
        )
    most = limits.pixels
    if header.bytes_per_pixel:
        most = min(most, int(limits.picture_bytes / header.bytes_per_pixel))
    if width * height > most:
        raise Unfit(
            "image.too_many_pixels",
            f"The picture has {width * height / MEGA:.0f} megapixels; one stored like this may have "
            f"{most / MEGA:.0f}.",
        )
    if header.frames > limits.frames:
        raise Unfit("image.too_many_frames", f"The animation has more than {limits.frames} frames.")
