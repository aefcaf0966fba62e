"""What a file says of a product, and what is said of a line that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

Status = Literal["draft", "active", "archived"]

MAX_LINES_PER_PRODUCT: Final = 5_000
"""A product is in memory whole while its lines are read."""


class UnusableFile(Exception):
    """Nothing of the file can be imported; the message says why and where."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is not imported. `line` is the physical line where its record starts, from 1."""

    line: int
    column: str | None
    reason: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.column}" if self.column else "")
        return f"{where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a product; positions start at 1."""

    source_url: str
    position: int
    alt_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product, or one variant of the product `parent_sku`, as its line gives it.

    `quantity` None says nothing about stock; a number is received once per file and line. `images` None says
    nothing about images; a tuple, an empty one too, is all there are.
    """

    line: int
    sku: str
    name: str
    currency: str
    parent_sku: str | None = None
    description: str = ""
    status: Status = "draft"
    price: Decimal = Decimal(0)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[Image, ...] | None = None
    quantity: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Products that belong together, the parent first. `lines` counts the records they were made of,
    `end` is the last physical line of the last one."""

    products: tuple[Product, ...]
    lines: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A product as the database holds it, for an export. `on_hand` None: it has no stock level."""

    sku: str
    name: str
    description: str
    status: Status
    price: Decimal
    currency: str
    attributes: Mapping[str, Any]
    images: tuple[Image, ...] = ()
    on_hand: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A stored product and its variants, as an export writes them together."""

    parent: Stored
    variants: tuple[Stored, ...] = ()
