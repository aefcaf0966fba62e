"""Files that are no picture, or none that is taken: what they are, said so that a person can help himself."""

from __future__ import annotations

from worker.images.picture import Unfit

# (at, bytes, name): pictures that are not taken
OTHER_PICTURES = (
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftyphevc", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
)
OTHERS = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"PK\5\6", "a ZIP archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x1f\x8b", "a compressed file"),
    (0, b"MZ", "a program"),
    (0, b"\x7fELF", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"#!", "a script"),
    (0, b"<?php", "a script"),
    (0, b"%!PS", "a PostScript document"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
)


def foreign(head: bytes) -> Unfit:
    """Why this is not taken, by its first bytes (4,096 are enough)."""
    if not head:
        return Unfit("image.empty", "The file is empty.")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<") and b"<svg" in text:
        return Unfit(
            "image.svg_refused", "SVG drawings are not taken, since they can hold scripts; save it as PNG."
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return Unfit("image.type_unknown", "This is a web page, not a picture; the address may be wrong.")
    for at, magic, name in OTHER_PICTURES:
        if head[at:].startswith(magic):
            return Unfit(
                "image.type_unsupported",
                f"{name} pictures are not taken; save it as JPEG, PNG, WebP, AVIF or GIF.",
            )
    for at, magic, name in OTHERS:
        if head[at:].startswith(magic):
            return Unfit("image.type_unknown", f"This is {name}, not a picture.")
    return Unfit("image.type_unknown", "This is not a picture of a kind that is known here.")
