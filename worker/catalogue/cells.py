"""Values to cell text and back: how a product's own values look in a Shopify CSV.

An import keeps the cells whose text differs from what would be written here ("50" for "50.00", an empty SKU,
every column without a meaning of its own). An export writes a kept cell as long as it still means the stored
value, else the value: so an untouched product gives the very cells it came from, and an edit shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from worker.catalogue import checks, columns
from worker.catalogue.product import Image, Status

_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0"})
_STATUSES: Final[Mapping[str, Status]] = {"active": "active", "draft": "draft", "archived": "archived"}


def product_cells(*, handle: str, name: str, description: str, status: Status) -> dict[str, str]:
    """The cells of a product's first line that are about the product."""
    return {
        columns.HANDLE: handle,
        columns.TITLE: name,
        columns.BODY: description,
        columns.PUBLISHED: "true" if status == "active" else "false",
        columns.STATUS: status,
    }


def option_name_cells(names: Sequence[str]) -> dict[str, str]:
    """The names of the options, on a product's first line."""
    return dict(zip(columns.OPTION_NAMES, names or [columns.NO_OPTION_NAME], strict=False))


def variant_cells(
    *, sku: str, price: Decimal, currency: str, on_hand: int | None, values: Sequence[str]
) -> dict[str, str]:
    """The cells of what is sold on a line; `values` in the order of the option names."""
    return {
        columns.SKU: sku,
        columns.PRICE: price_text(price, currency),
        columns.QUANTITY: str(on_hand or 0),
        **dict(zip(columns.OPTION_VALUES, values or [columns.NO_OPTION_VALUE], strict=False)),
    }


def image_cells(image: Image) -> dict[str, str]:
    """The three cells of an image."""
    return {
        columns.IMAGE_SRC: image.source_url,
        columns.IMAGE_POSITION: str(image.position),
        columns.IMAGE_ALT: image.alt_text or "",
    }


def price_text(price: Decimal, currency: str) -> str:
    """The amount with the currency's decimals: 50 dollars are "50.00"."""
    return f"{price:.{checks.minor_units(currency)}f}"


def status_of(published: str, status: str) -> Status:
    """What the cells Published and Status say together; both empty or absent: a draft.

    Status decides where it is filled. Older files have Published alone.
    """
    published, status = published.strip().lower(), status.strip().lower()
    if status:
        if status not in _STATUSES:
            raise checks.BadValue(f"{checks.shown(status)} is not active, draft or archived")
        return _STATUSES[status]
    if published not in _TRUE | _FALSE | {""}:
        raise checks.BadValue(f"{checks.shown(published)} is not true or false")
    return "active" if published in _TRUE else "draft"


def derived_sku(handle: str, values: Sequence[str] = ()) -> str:
    """The SKU of a line that names none: the handle, then the option values as slugs, joined by hyphens.

    `("tent", ["Forest Green", "2 P"])` gives `tent-forest-green-2-p`. One of more than 100 characters is
    cut and ends in eight hex digits of the whole one's SHA-256 instead.
    """
    whole = "-".join([handle.strip(), *(slug for value in values if (slug := slugged(value)))])
    if len(whole) <= checks.MAX_SKU:
        return whole
    return f"{whole[: checks.MAX_SKU - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def variant_name(name: str, values: str) -> str:
    """A variant's name: its product's and its options, cut where it would be too long."""
    ending = f" - {values}" if values else ""
    room = max(checks.MAX_NAME - len(ending), 1)
    return checks.name(((name if len(name) <= room else name[: room - 1] + "…") + ending)[: checks.MAX_NAME])


def slugged(text: str) -> str:
    """Letters and digits of any script in lower case, everything else as single hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def means_price(cell: str, price: Decimal, currency: str) -> bool:
    try:
        return checks.price(cell, currency) == price
    except checks.BadValue:
        return False


def means_quantity(cell: str, on_hand: int | None) -> bool:
    try:
        return (checks.quantity(cell) or 0) == (on_hand or 0)
    except checks.BadValue:
        return False


def means_status(published: str, status: str, stored: Status) -> bool:
    try:
        return status_of(published, status) == stored
    except checks.BadValue:
        return False
