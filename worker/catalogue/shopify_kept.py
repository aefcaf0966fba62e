"""What an import keeps of a Shopify CSV beyond a product's own values, and how: `attributes.shopify`.

Of a product:  {"handle", "after", "cells": {column: text}, "images": [[row, position], …],
                "rows": {row: {column: text}}, "file"?: {"header", "newline", "bom"}, "unterminated"?}
Of a variant:  {"row", "cells": {column: text}}

Rows count a product's lines that were taken, from 0. `cells` are those whose text is not what an export would
write by itself, an emptied one as "". `rows` are the lines that sell nothing, and image cells of any line.
`after` is the handle of the product before it in the file: a product put in between changes only its
neighbour, where line numbers would make every later product look changed. `file` stands with the first
product of a file alone, because all that is here travels in every event of the product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.catalogue import cells, columns
from worker.catalogue.product import Image
from worker.catalogue.shopify_lines import Head, Line, Variant


@dataclass(frozen=True, slots=True)
class Layout:
    """The file's form: its columns, the currency of its prices, and how its lines end."""

    header: tuple[str, ...]
    currency: str
    newline: str = "\r\n"
    bom: bool = False
    terminated: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a product stands in the file: the handle before it, and whether it is the last."""

    after: str | None
    last: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A line that was taken: its number among the product's, and what it says."""

    number: int
    line: Line
    variant: Variant | None
    image: Image | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The lines of a product that were taken, the first among them. `single`: it has no variants."""

    head: Head
    rows: tuple[Row, ...]
    single: bool


def parent_attributes(reading: Reading, layout: Layout, place: Place) -> dict[str, Any]:
    """The attributes of a product: the names of its options, and what is kept of its file."""
    first = reading.rows[0]
    images = sorted((row.image.position, row.number) for row in reading.rows if row.image)
    shopify: dict[str, Any] = {
        "handle": first.line.handle,
        "after": place.after,
        "cells": _first_cells(first, reading, layout),
        "images": [[number, position] for position, number in images],
        "rows": dict(_other_rows(reading, layout)),
    }
    if place.after is None:
        shopify["file"] = {"header": list(layout.header), "newline": layout.newline, "bom": layout.bom}
    if place.last and not layout.terminated:
        shopify["unterminated"] = True
    names = reading.head.option_names
    return {**({"option_names": list(names)} if names else {}), "shopify": shopify}


def child_attributes(row: Row, variant: Variant, reading: Reading, layout: Layout) -> dict[str, Any]:
    """The attributes of a variant: its options by name, and what is kept of its line."""
    own = cells.variant_cells(
        sku=variant.sku,
        price=variant.price,
        currency=layout.currency,
        on_hand=variant.quantity,
        values=variant.values,
    )
    if row.number > 0:
        own[columns.HANDLE] = row.line.handle
    owned = [
        column
        for column in layout.header
        if column not in columns.IMAGE_COLUMNS and (row.number > 0 or columns.is_variant_column(column))
    ]
    options = dict(zip(reading.head.option_names, variant.values, strict=False))
    return {"options": options, "shopify": {"row": row.number, "cells": _kept(row.line, owned, own)}}


def _first_cells(first: Row, reading: Reading, layout: Layout) -> dict[str, str]:
    head = reading.head
    own = cells.product_cells(
        handle=first.line.handle, name=head.name, description=head.description, status=head.status
    ) | cells.option_name_cells(head.option_names)
    sold = first.variant if reading.single else None
    if sold:
        own |= cells.variant_cells(
            sku=sold.sku, price=sold.price, currency=layout.currency, on_hand=sold.quantity, values=()
        )
    owned = [
        column
        for column in layout.header
        if column not in columns.IMAGE_COLUMNS
        and (sold or first.variant is None or not columns.is_variant_column(column))
    ]
    kept = _kept(first.line, owned, own)
    pair = [column for column in (columns.PUBLISHED, columns.STATUS) if column in layout.header]
    if not kept.keys().isdisjoint(pair):
        # the two mean something together only, so they are kept together
        kept |= {column: first.line.cell(column) for column in pair}
    return kept


def _other_rows(reading: Reading, layout: Layout) -> Iterable[tuple[str, dict[str, str]]]:
    for row in reading.rows:
        own = cells.image_cells(row.image) if row.image else {}
        image_columns = [column for column in layout.header if column in columns.IMAGE_COLUMNS]
        if row.variant or row.number == 0:
            if kept := _kept(row.line, image_columns, own):
                yield str(row.number), kept
        else:
            own[columns.HANDLE] = row.line.handle
            yield str(row.number), _kept(row.line, layout.header, own)


def _kept(line: Line, owned: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """The owned cells whose text differs from the `own` one that an export would write."""
    return {column: text for column in owned if (text := line.cell(column)) != own.get(column, "")}
