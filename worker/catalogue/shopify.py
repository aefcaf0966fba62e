"""The Shopify product CSV, read: lines with one handle -> a product, its variants and its images.

- A product is the stretch of lines with the same Handle. Its first line carries Title, Body and the like.
- A line with an option value, a Variant SKU or a Variant Price is a variant. A product whose only variant has
  no option ("Default Title") stays one product; otherwise the product is the parent and each variant a child.
- A line may bring an image, with or without a variant; images belong to the product.
- Where Variant SKU is empty, and for a parent, the SKU is derived: see `cells.derived_sku`. SKUs are unique
  within the file; the second line with one is refused.
- A parent has the price of its first variant. Status comes from Status, else from Published.
- All other cells are kept under `attributes.shopify`, so that `shopify_export` gives the same file back.
- A line is taken whole or not at all. When a product's first line is refused, its other lines are too.

Nothing here does I/O but reading the text stream, one product at a time.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from worker.catalogue import cells, checks, columns
from worker.catalogue.checks import BadValue
from worker.catalogue.product import MAX_LINES_PER_PRODUCT, Group, Refusal, UnusableFile
from worker.catalogue.records import Record, Records
from worker.catalogue.shopify_kept import Layout, Place
from worker.catalogue.shopify_lines import Line
from worker.catalogue.shopify_product import Built, build


@dataclass(slots=True)
class _Gathered:
    """The lines of one product while they are read; `broken` is why the product cannot be taken."""

    handle: str
    lines: list[Line]
    end: int
    broken: str | None = None


class ShopifyReader:
    """Iterates over the products of a CSV as `Group`, and over the lines that are refused as `Refusal`.

    `stream` is opened with `newline=""`, its byte order mark removed. Memory holds two products and the
    handles and SKUs seen so far. Raises `UnusableFile` for a header that cannot be used.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        currency: str,
        newline: str = "\r\n",
        bom: bool = False,
        terminated: bool = True,
    ) -> None:
        self._records = Records(stream)
        try:
            header = columns.check_header(self._records.header())
        except csv.Error as error:
            raise UnusableFile(f"line 1: the header cannot be read: {error}") from None
        self.layout: Final = Layout(header, currency, newline, bom, terminated)
        self._handles: dict[str, int] = {}
        self._skus: dict[str, int] = {}

    def __iter__(self) -> Iterator[Group | Refusal]:
        previous: str | None = None
        waiting: _Gathered | None = None
        strays: list[Refusal] = []
        for found in self._gather():
            if isinstance(found, Refusal):
                # told together with the product that it stands in, so that lines come in their order
                strays.append(found)
                if len(strays) > MAX_LINES_PER_PRODUCT:
                    yield strays.pop(0)
                continue
            if waiting:
                previous = yield from self._finish(waiting, previous, strays, last=False)
            waiting = found
        if waiting:
            yield from self._finish(waiting, previous, strays, last=True)
        yield from strays

    def _finish(
        self, gathered: _Gathered, previous: str | None, strays: list[Refusal], *, last: bool
    ) -> Generator[Group | Refusal, None, str | None]:
        """Answers, as a generator does, the handle that the next product comes after."""
        built = Built()
        if gathered.broken:
            built.refusals = [Refusal(line.line, None, gathered.broken) for line in gathered.lines]
        else:
            built = build(gathered.lines, self.layout, self._skus, Place(previous, last))
        near = [stray for stray in strays if stray.line <= gathered.end]
        strays[:] = strays[len(near) :]
        yield from sorted([*near, *built.refusals], key=lambda refusal: refusal.line)
        if not built.products:
            return previous
        refused = {refusal.line for refusal in built.refusals}
        yield Group(tuple(built.products), len(gathered.lines) - len(refused), gathered.end)
        return gathered.handle

    def _gather(self) -> Iterator[_Gathered | Refusal]:
        current: _Gathered | None = None
        for found in self._records.read(len(self.layout.header)):
            if isinstance(found, Refusal):
                yield found
                continue
            line, bad = self._line(found)
            if bad:
                yield bad
            if not line.handle.strip():
                continue
            if current is None or line.handle != current.handle:
                if current:
                    yield current
                current = self._begin(line, bad)
            if len(current.lines) >= MAX_LINES_PER_PRODUCT:
                yield Refusal(line.line, None, f"its product has more than {MAX_LINES_PER_PRODUCT:,} lines")
            elif not bad:
                current.lines.append(line)
            current.end = found.end
        if current:
            yield current

    def _begin(self, line: Line, bad: Refusal | None) -> _Gathered:
        first = self._handles.setdefault(line.handle, line.line)
        broken = None
        if first != line.line:
            broken = f"its handle was used from line {first} on; the lines of a product must stand together"
        elif bad:
            broken = f"its product's first line, {line.line}, was refused"
        return _Gathered(line.handle, [], line.end, broken)

    def _line(self, record: Record) -> tuple[Line, Refusal | None]:
        """The record's filled cells by column, and what is wrong with them as text, if anything."""
        filled = {column: text for column, text in zip(self.layout.header, record.cells, strict=True) if text}
        line = Line(record.line, record.end, filled.get(columns.HANDLE, ""), filled)
        if not line.handle.strip():
            return line, Refusal(record.line, columns.HANDLE, "is empty")
        for column, text in filled.items():
            try:
                checks.plain(text)
            except BadValue as bad:
                return line, Refusal(record.line, column, str(bad))
        try:
            checks.sku(cells.derived_sku(line.handle))
        except BadValue as bad:
            return line, Refusal(record.line, columns.HANDLE, str(bad))
        return line, None
