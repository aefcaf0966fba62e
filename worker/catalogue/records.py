"""The records of a CSV file with their physical lines, and what to do where the quotes are broken.

A quote that is opened and never closed swallows what follows. So a record over several lines that turns out
to be broken is given up at its first line only, and reading goes on at the second: the good lines after it
are found again.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from worker.catalogue.product import Refusal

MAX_LINE: Final = 1 << 20
MAX_RECORD: Final = 2 << 20

_REASONS: Final = (
    ("unexpected end", "a quote is opened and never closed"),
    ("expected after", "the quotes do not balance: text follows a closing quote"),
    ("field larger", "a cell is far too long, or a quote is never closed"),
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its first and last physical line, from 1, and its cells."""

    line: int
    end: int
    cells: list[str]


class Records:
    """Reads `stream` (opened with `newline=""`), holding one record at a time; blank lines are skipped."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = _Lines(stream)
        self._reader = csv.reader(self._lines, strict=True)

    def header(self) -> list[str] | None:
        """The first record, or None if there is none. Raises `csv.Error`."""
        self._lines.mark()
        for cells in self._reader:
            if cells:
                return cells
        return None

    def read(self, width: int) -> Iterator[Record | Refusal]:
        """The records that have `width` cells, and a refusal for each damaged stretch."""
        damage: Refusal | None = None
        while (found := self._next(width)) is not None:
            if isinstance(found, Record):
                if damage:
                    yield _until(damage, found.line - 1)
                    damage = None
                yield found
            elif found.spread and damage is None:
                damage = found.refusal
            elif damage is None:
                yield found.refusal
        if damage:
            yield _until(damage, self._lines.number)

    def _next(self, width: int) -> Record | _Damage | None:
        self._lines.mark()
        line = self._lines.number + 1
        try:
            cells = next(self._reader, None)
            while cells == []:
                self._lines.mark()
                line = self._lines.number + 1
                cells = next(self._reader, None)
        except csv.Error as error:
            return self._give_up(line, _readable(str(error)))
        if cells is None:
            return None
        if len(cells) == width:
            return Record(line, self._lines.number, cells)
        return self._give_up(line, f"has {len(cells):,} cells where the header has {width:,}")

    def _give_up(self, line: int, reason: str) -> _Damage:
        spread = self._lines.number > line
        self._lines.back_to_second()
        # a reader that failed inside a quote must not carry that state on
        self._reader = csv.reader(self._lines, strict=True)
        return _Damage(Refusal(line, None, reason), spread)


@dataclass(frozen=True, slots=True)
class _Damage:
    """A record that is given up; `spread`: the lines after it may be its remains rather than records."""

    refusal: Refusal
    spread: bool


class _Lines:
    """Physical lines, counted, that can be taken back as far as the mark."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ahead: deque[str] = deque()
        self._taken: list[str] = []
        self._size = 0
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self._taken.append(line)
        self._size += len(line)
        if len(line) > MAX_LINE:
            raise csv.Error(f"the line is longer than {MAX_LINE:,} characters")
        if self._size > MAX_RECORD:
            raise csv.Error(f"longer than {MAX_RECORD:,} characters, or a quote is never closed")
        return line

    def mark(self) -> None:
        self._taken.clear()
        self._size = 0

    def back_to_second(self) -> None:
        rest = self._taken[1:]
        self._ahead.extendleft(reversed(rest))
        self.number -= len(rest)

    def _read(self) -> str:
        line = self._stream.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            # the rest is dropped here, so that a line of any length costs no more memory than this
            tail = line
            while tail and not tail.endswith(("\n", "\r")):
                tail = self._stream.readline(MAX_LINE)
        return line


def _until(damage: Refusal, last: int) -> Refusal:
    if last <= damage.line:
        return damage
    return Refusal(damage.line, damage.column, f"{damage.reason}; nothing readable up to line {last}")


def _readable(reason: str) -> str:
    return next((readable for sign, readable in _REASONS if sign in reason), reason)
