"""Filters that name many values: they travel in the address, so they go in several calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

# gateways cut addresses at 8 KiB and more
MAX_FILTER_BYTES: Final = 4096


def chunks(values: Iterable[str]) -> Iterable[Sequence[str]]:
    """`values` in lists whose text fits into an address."""
    chunk: list[str] = []
    size = 0
    for value in values:
        # a byte takes three characters at most once escaped, and four more are for quotes and the comma
        length = len(value.encode()) * 3 + 12 if not value.isascii() else len(value) * 2 + 12
        if chunk and size + length > MAX_FILTER_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(value)
        size += length
    if chunk:
        yield chunk
