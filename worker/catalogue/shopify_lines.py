"""One line of a Shopify CSV: what it says of a product, a variant and an image, each cell checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from worker.catalogue import cells, checks, columns
from worker.catalogue.checks import BadValue
from worker.catalogue.product import Image, Refusal, Status

T = TypeVar("T")

_NO_TITLE: Final = "is empty; a product's first line carries it (was the line before refused?)"


@dataclass(frozen=True, slots=True)
class Line:
    """A record: its physical lines, its handle, and its cells that are not empty, by column."""

    line: int
    end: int
    handle: str
    filled: Mapping[str, str]

    def cell(self, column: str) -> str:
        return self.filled.get(column, "")

    @property
    def sells(self) -> bool:
        """True when the line is a variant rather than one more image."""
        return any(self.cell(c).strip() for c in (columns.SKU, columns.PRICE, *columns.OPTION_VALUES))


@dataclass(frozen=True, slots=True)
class Head:
    """What a product's first line says of the whole product."""

    name: str
    description: str
    status: Status
    option_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """What is sold on a line; `values` in the order of the options' names."""

    sku: str
    price: Decimal
    quantity: int | None
    values: tuple[str, ...]


class Check:
    """Reads one line's cells and gathers all that is wrong with them."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.refusals: list[Refusal] = []

    def take(self, column: str, read: Callable[[str], T]) -> T | None:
        """The cell as `read` gives it; None, and a refusal, where it raises `BadValue`."""
        try:
            return read(self.line.cell(column))
        except BadValue as bad:
            self.refuse(column, str(bad))
            return None

    def refuse(self, column: str | None, reason: str) -> None:
        self.refusals.append(Refusal(self.line.line, column, reason))

    def head(self) -> Head | None:
        line = self.line
        if not line.cell(columns.TITLE).strip():
            self.refuse(columns.TITLE, _NO_TITLE)
            return None
        name = self.take(columns.TITLE, checks.name)
        column = columns.STATUS if line.cell(columns.STATUS).strip() else columns.PUBLISHED
        published, status_cell = line.cell(columns.PUBLISHED), line.cell(columns.STATUS)
        status = self.take(column, lambda _: cells.status_of(published, status_cell))
        names = self._option_names()
        if name is None or status is None or self.refusals:
            return None
        return Head(name, line.cell(columns.BODY), status, names)

    def variant(self, option_names: tuple[str, ...], currency: str) -> Variant | None:
        line = self.line
        values = _filled([line.cell(column) for column in columns.OPTION_VALUES])
        if not option_names and values == (columns.NO_OPTION_VALUE,):
            values = ()
        if len(values) > len(option_names):
            column = columns.OPTION_NAMES[len(option_names)]
            self.refuse(column, "is empty on the product's first line, but a value is given")
        derived = cells.derived_sku(line.handle, values)
        sku = self.take(columns.SKU, lambda text: checks.sku(text if text.strip() else derived))
        price = self.take(columns.PRICE, lambda text: checks.price(text, currency))
        quantity = self.take(columns.QUANTITY, checks.quantity)
        if sku is None or price is None or self.refusals:
            return None
        return Variant(sku, price, quantity, values)

    def image(self, taken: Collection[int]) -> Image | None:
        """The line's image; one without a position, or with one that is `taken`, goes last."""
        if not self.line.cell(columns.IMAGE_SRC).strip():
            return None
        url = self.take(columns.IMAGE_SRC, checks.image_url)
        position = self.take(columns.IMAGE_POSITION, checks.position)
        alt_text = self.take(columns.IMAGE_ALT, checks.alt_text)
        if position is None or position in taken:
            position = max(taken, default=0) + 1
        return Image(url, position, alt_text) if url else None

    def _option_names(self) -> tuple[str, ...]:
        names = _filled([self.line.cell(column) for column in columns.OPTION_NAMES])
        value = self.line.cell(columns.OPTION_VALUES[0])
        if names == (columns.NO_OPTION_NAME,) and value in ("", columns.NO_OPTION_VALUE):
            return ()
        if len(set(names)) < len(names) or "" in names:
            column = columns.OPTION_NAMES[0]
            self.refuse(column, "the names of the options must be filled in order, once each")
        return names


def _filled(texts: list[str]) -> tuple[str, ...]:
    """`texts` without the empty ones at the end."""
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)
