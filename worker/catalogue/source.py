"""The file that is imported: what its bytes are, before any of it is written to the database."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

from worker.catalogue.checks import shown
from worker.catalogue.product import UnusableFile

Format = Literal["shopify", "jsonl"]

_CHUNK: Final = 1 << 20
_JSONL_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_NO_TEXT: Final = {
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"PK\x03\x04": "a spreadsheet or another zip archive",
    b"\x1f\x8b": "compressed with gzip",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of UTF-8 text: the SHA-256 of its bytes, its size, and how its lines end."""

    path: Path
    sha256: str
    size: int
    newline: str
    bom: bool
    terminated: bool
    lines: int

    def open(self) -> TextIO:
        """The text with its line ends as they are and without the byte order mark."""
        return self.path.open(encoding="utf-8-sig", newline="")


def format_of(path: Path, wanted: Format | Literal["auto"]) -> Format:
    """`wanted`, or what the file's name says: .jsonl and .ndjson are JSON Lines, all else is CSV."""
    if wanted != "auto":
        return wanted
    return "jsonl" if path.suffix.lower() in _JSONL_SUFFIXES else "shopify"


def inspect(path: Path) -> Source:
    """Reads the whole file once, a chunk at a time. Raises `UnusableFile`."""
    try:
        if path.exists() and not path.is_file():
            raise UnusableFile(f"{shown(str(path), 200)} is not a file")
        return _inspect(path)
    except OSError as error:
        raise UnusableFile(f"{shown(str(path), 200)}: {os.strerror(error.errno or 0)}") from error


def _inspect(path: Path) -> Source:
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    size, lines, head, tail, newline = 0, 0, b"", b"", ""
    for chunk in _chunks(path):
        head = head or chunk[:4]
        _refuse_binary(head)
        digest.update(chunk)
        _decode(decoder, chunk, size, lines)
        if not newline:
            newline = _newline(chunk)
        size += len(chunk)
        lines += chunk.count(b"\n")
        tail = chunk[-1:]
    _decode(decoder, b"", size, lines, final=True)
    bom = head.startswith(codecs.BOM_UTF8)
    if size <= (3 if bom else 0):
        raise UnusableFile("the file is empty")
    terminated = tail in (b"\n", b"\r")
    return Source(path, digest.hexdigest(), size, newline or "\n", bom, terminated, lines + (not terminated))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _refuse_binary(head: bytes) -> None:
    for sign, what in _NO_TEXT.items():
        if head.startswith(sign):
            raise UnusableFile(f"the file is {what}; save it as plain text in UTF-8")


def _decode(
    decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, lines: int, *, final: bool = False
) -> None:
    waiting = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        line = lines + error.object[: error.start].count(b"\n") + 1
        at = offset - waiting + error.start + 1
        raise UnusableFile(
            f"line {line}: byte {at:,} of the file (0x{error.object[error.start]:02X}) is not UTF-8; the "
            "file looks like Latin-1 or Windows-1252, save it as UTF-8"
        ) from None


def _newline(chunk: bytes) -> str:
    first = min((at for sign in (b"\n", b"\r") if (at := chunk.find(sign)) >= 0), default=-1)
    if first < 0:
        return ""
    if chunk[first : first + 2] == b"\r\n":
        return "\r\n"
    return chunk[first : first + 1].decode()
