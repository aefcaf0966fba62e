"""Shopify CSVs for tests: written from a few cells, read back, and exported without a database."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence

from worker.catalogue.order import Placed, in_file_order
from worker.catalogue.product import Family, Group, Product, Refusal, Stored
from worker.catalogue.shopify import ShopifyReader
from worker.catalogue.shopify_export import csv_line, render

HEADER = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Published", "Option1 Name", "Option1 Value", "Option2 Name",
    "Option2 Value", "Variant SKU", "Variant Inventory Qty", "Variant Price", "Variant Barcode", "Image Src",
    "Image Position", "Image Alt Text", "Status",
)  # fmt: skip


def sheet(*rows: dict[str, str], header: Sequence[str] = HEADER, newline: str = "\n") -> str:
    """A CSV with `header`; a row names the cells that are not empty."""
    lines = [csv_line(header), *(csv_line(row.get(column, "") for column in header) for row in rows)]
    return "".join(line + newline for line in lines)


def item(handle: str, title: str = "A thing", **cells: str) -> dict[str, str]:
    """The first line of a product that has a price; `cells` by column with underscores for spaces."""
    return {"Handle": handle, "Title": title, "Variant Price": "9.90", **_named(cells)}


def line(handle: str, **cells: str) -> dict[str, str]:
    """A further line of a product."""
    return {"Handle": handle, **_named(cells)}


def reader(text: str, *, currency: str = "USD") -> ShopifyReader:
    return ShopifyReader(io.StringIO(text, newline=""), currency=currency)


def read(text: str, *, currency: str = "USD") -> tuple[list[Product], list[Refusal]]:
    """All products in their order, and all refusals."""
    found = list(reader(text, currency=currency))
    products = [product for each in found if isinstance(each, Group) for product in each.products]
    return products, [each for each in found if isinstance(each, Refusal)]


def exported(header: Sequence[str], found: Iterable[Group | Refusal], seed: int = 0) -> list[list[str]]:
    """What an export writes of these products after the database had them, in whatever order it has them."""
    families = {
        group.products[0].sku: Family(stored(group.products[0]), tuple(map(stored, group.products[1:])))
        for group in found
        if isinstance(group, Group)
    }
    places = []
    for sku, family in families.items():
        kept = family.parent.attributes["shopify"]
        places.append(Placed(sku, sku, kept["handle"], kept["after"]))
    random.Random(seed).shuffle(places)
    return [row for place in in_file_order(places) for row in render(families[place.id], header)]


def stored(product: Product) -> Stored:
    """`product` as it comes back from jsonb and the tables around it."""
    return Stored(
        sku=product.sku,
        name=product.name,
        description=product.description,
        status=product.status,
        price=product.price,
        currency=product.currency,
        # jsonb keeps no order of keys
        attributes=json.loads(json.dumps(product.attributes, sort_keys=True)),
        images=tuple(sorted(product.images or (), key=lambda image: image.position)),
        on_hand=product.quantity or None,
    )


def _named(cells: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): text for name, text in cells.items()}
