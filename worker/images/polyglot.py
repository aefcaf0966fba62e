"""Files that are a picture and something else as well.

What is served is encoded anew, so nothing of this could get out; it is refused because nobody makes such a
file by accident. Cameras do append things (more pictures, videos, their own blocks): those are let pass.
"""

from __future__ import annotations

import re

from worker.images.formats.header import Data, Header
from worker.images.picture import Unfit

ACTIVE = re.compile(rb"(?i)<\?php|<script|<iframe|<html|<!doctype html|javascript:|%pdf-\d|__halt_compiler")
CODE = re.compile(rb"(?i)<\?php|<script|<html|<!doctype|<svg|<\?xml|%pdf-\d|__halt_compiler|javascript:")
PROGRAMS = (
    (b"PK\3\4", "a ZIP archive"),
    (b"PK\5\6", "a ZIP archive"),
    (b"Rar!\x1a\7", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b\x08", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xfd7zXZ\0", "a compressed file"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\0asm", "a program"),
    (b"#!", "a script"),
    (b"<", "a document"),
)
ZIP_END = b"PK\5\6"
ZIP_TAIL = 22 + 0xFFFF
PADDING = b"\0\xff \t\r\n"
VIDEO = re.compile(rb"(?s).{1,4}ftyp")  # a box; its size begins with zeros, which are stripped
TEXT = bytes(range(32, 127)) + b"\t\r\n\f\v\0"
A_SENTENCE = 16


def refuse_polyglot(data: Data, header: Header) -> None:
    """Raises `Unfit` when there is more than a picture in its texts or behind its end."""
    for text in header.texts:
        if found := ACTIVE.search(text):
            raise _polyglot(f"code ({found.group().decode('latin-1')}…) in its metadata")
    if _is_zip(data):
        raise _polyglot("a ZIP archive")
    start = header.end
    if not data[start : start + 1]:
        return
    rest = bytes(data[start:]).strip(PADDING)
    for magic, what in PROGRAMS:
        if rest.startswith(magic):
            raise _polyglot(f"{what} behind the picture")
    if found := CODE.search(rest):
        raise _polyglot(f"code ({found.group().decode('latin-1')}…) behind the picture")
    # other letters than ASCII's are rare in code
    if len(rest) >= A_SENTENCE and len(rest.translate(None, TEXT)) < len(rest) // 10:
        raise _polyglot("text behind the picture")


def appendix(data: Data, end: int) -> str:
    """What follows a picture that passed: see `Picture.appended`."""
    if not data[end : end + 1]:
        return ""
    rest = bytes(data[end : end + 4096]).lstrip(b"\0")
    if rest.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if VIDEO.match(rest):
        return "video"
    return "unknown" if bytes(data[end:]).strip(PADDING) else "padding"


def _is_zip(data: Data) -> bool:
    """An archive is read from its end: its directory's mark, and a comment that reaches to the very end."""
    tail = bytes(data[max(0, len(data) - ZIP_TAIL) :])
    at = tail.rfind(ZIP_END)
    while at >= 0:
        if at + 22 <= len(tail) and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return True
        at = tail.rfind(ZIP_END, 0, at)
    return False


def _polyglot(what: str) -> Unfit:
    return Unfit("image.polyglot", f"The file is a picture and holds {what}; save the picture anew.")
