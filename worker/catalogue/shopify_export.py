"""Stored products -> the lines of a Shopify CSV; untouched ones give the very lines they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from worker.catalogue import cells, columns
from worker.catalogue.product import Family, Image, Stored

Cells = dict[str, str]


class KeptFile(BaseModel):
    """`attributes.shopify.file` of a file's first product."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    header: tuple[str, ...]
    newline: Literal["\r\n", "\n", "\r"] = "\r\n"
    bom: bool = False


class KeptProduct(BaseModel):
    """`attributes.shopify` of a product; see `shopify_kept`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    handle: str
    unterminated: bool = False
    cells: Cells = {}
    images: tuple[tuple[int, int], ...] = ()
    rows: dict[NonNegativeInt, Cells] = {}


class KeptVariant(BaseModel):
    """`attributes.shopify` of a variant; see `shopify_kept`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    row: NonNegativeInt
    cells: Cells = {}


def kept_of(product: Stored) -> KeptProduct:
    """What was kept of the product's file; without one, or where it was garbled, what Shopify asks for."""
    try:
        return KeptProduct.model_validate(product.attributes.get("shopify"))
    except ValidationError:
        handle = cells.slugged(product.sku) or "product"
        needed = {"Variant Inventory Policy": "deny", "Variant Fulfillment Service": "manual"}
        return KeptProduct(handle=handle, cells=needed)


def merged_header(headers: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All columns, those of the first file first; the standard ones where there was no file."""
    merged = dict.fromkeys(column for header in headers for column in header)
    return tuple(merged) or columns.STANDARD_HEADER


def csv_line(texts: Iterable[str]) -> str:
    """A record without its line end, quoted where RFC 4180 asks for it and nowhere else."""
    return ",".join(f'"{t.replace(chr(34), chr(34) * 2)}"' if _needs_quotes(t) else t for t in texts)


def render(family: Family, header: Sequence[str], *, handle: str | None = None) -> list[list[str]]:
    """The product's lines, its first one first, each with a cell for every column of `header`.

    `handle` stands in for the product's own.
    """
    kept = kept_of(family.parent)
    lines = _Lines(family, kept.model_copy(update={"handle": handle}) if handle else kept).cells()
    return [[line.get(column, "") for column in header] for line in lines]


class _Lines:
    def __init__(self, family: Family, kept: KeptProduct) -> None:
        self._family, self._kept = family, kept
        names = family.parent.attributes.get("option_names")
        self._names: tuple[str, ...] = tuple(map(str, names)) if isinstance(names, list) else ()
        if family.variants and not self._names:
            self._names = _names_in_use(family.variants)

    def cells(self) -> list[Cells]:
        variants = self._placed_variants()
        images = self._placed_images(variants)
        pictured = {row for row, _ in self._kept.images}
        extras = {row for row in self._kept.rows if row not in pictured and row not in variants}
        lines: list[Cells] = []
        for row in sorted({0, *variants, *images, *extras}):
            line = self._variant(variants[row], row) if row in variants else {}
            line |= self._image(images.get(row), row, alone=row > 0 and row not in variants)
            line |= (
                self._first(bool(variants), 0 in variants)
                if row == 0
                else {columns.HANDLE: self._kept.handle}
            )
            lines.append(line)
        return lines

    def _placed_variants(self) -> dict[int, tuple[Stored, Cells]]:
        placed: dict[int, tuple[Stored, Cells]] = {}
        homeless: list[Stored] = []
        for variant in self._family.variants:
            try:
                kept = KeptVariant.model_validate(variant.attributes.get("shopify"))
            except ValidationError:
                kept = None
            if kept is None or kept.row in placed:
                homeless.append(variant)
            else:
                placed[kept.row] = (variant, kept.cells)
        taken = {0, *placed, *self._kept.rows, *(row for row, _ in self._kept.images)}
        for variant in sorted(homeless, key=lambda v: v.sku):
            row = 0 if 0 not in placed else max(taken) + 1
            taken.add(row)
            placed[row] = (variant, {})
        return placed

    def _placed_images(self, variants: Iterable[int]) -> dict[int, Image]:
        rows = {position: row for row, position in self._kept.images}
        after = max([0, *variants, *self._kept.rows, *rows.values()]) + 1
        placed: dict[int, Image] = {}
        for image in sorted(self._family.parent.images, key=lambda i: i.position):
            row = rows.pop(image.position, None)
            if row is None:
                row = 0 if not placed and not self._kept.images else after + len(placed)
            placed[row] = image
        return placed

    def _first(self, has_variants: bool, with_variant: bool) -> Cells:
        product, kept = self._family.parent, self._kept.cells
        own = cells.product_cells(
            handle=self._kept.handle,
            name=product.name,
            description=product.description,
            status=product.status,
        )
        own |= cells.option_name_cells(self._names)
        if has_variants:
            means = self._product_means(own)
            return _with_kept(own, kept, means, lambda c: not (with_variant and columns.is_variant_column(c)))
        own |= self._sold(product, ())
        means = {**self._product_means(own), **self._variant_means(product, ())}
        return _with_kept(own, kept, means)

    def _variant(self, placed: tuple[Stored, Cells], row: int) -> Cells:
        variant, kept = placed
        options = variant.attributes.get("options")
        options = options if isinstance(options, dict) else {}
        values = [str(options.get(name, "")) for name in self._names]
        while values and not values[-1]:
            values.pop()
        if not values and self._names and not kept:
            values = [variant.name]
        own = self._sold(variant, values)
        means = self._variant_means(variant, values)
        return _with_kept(own, kept, means, lambda c: row > 0 or columns.is_variant_column(c))

    def _image(self, image: Image | None, row: int, *, alone: bool) -> Cells:
        own = cells.image_cells(image) if image else {}
        kept = self._kept.rows.get(row, {})
        url = image.source_url if image else ""
        means: Means = {columns.IMAGE_SRC: lambda text: text.strip() == url}
        if image and not any(position == image.position for at, position in self._kept.images if at == row):
            return own
        return _with_kept(own, kept, means, lambda c: alone or c in columns.IMAGE_COLUMNS)

    def _sold(self, stored: Stored, values: Sequence[str]) -> Cells:
        return cells.variant_cells(
            sku=stored.sku,
            price=stored.price,
            currency=stored.currency,
            on_hand=stored.on_hand,
            values=values,
        )

    def _product_means(self, own: Cells) -> Means:
        product, kept = self._family.parent, self._kept
        same_status = cells.means_status(
            kept.cells.get(columns.PUBLISHED, ""), kept.cells.get(columns.STATUS, ""), product.status
        )
        return {
            columns.TITLE: lambda text: text.strip() == product.name,
            columns.BODY: lambda text: text == product.description,
            columns.PUBLISHED: lambda _: same_status,
            columns.STATUS: lambda _: same_status,
            **{column: _same_option(own, column) for column in columns.OPTION_NAMES},
        }

    def _variant_means(self, stored: Stored, values: Sequence[str]) -> Means:
        derived = cells.derived_sku(self._kept.handle, values)
        own = self._sold(stored, values)
        return {
            columns.SKU: lambda text: (text.strip() or derived) == stored.sku,
            columns.PRICE: lambda text: cells.means_price(text, stored.price, stored.currency),
            columns.QUANTITY: lambda text: cells.means_quantity(text, stored.on_hand),
            **{column: _same_option(own, column) for column in columns.OPTION_VALUES},
        }


# by column: does a kept text still mean the stored value? A column that is not there has no value here.
Means = Mapping[str, Callable[[str], bool]]


def _with_kept(own: Cells, kept: Cells, means: Means, owned: Callable[[str], bool] = lambda _: True) -> Cells:
    still = {c: text for c, text in kept.items() if owned(c) and (c not in means or means[c](text))}
    return own | still


def _same_option(own: Cells, column: str) -> Callable[[str], bool]:
    unnamed = own.get(column, "") in ("", columns.NO_OPTION_NAME, columns.NO_OPTION_VALUE)
    return lambda text: text == own.get(column, "") or (unnamed and not text)


def _names_in_use(variants: Sequence[Stored]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for variant in variants:
        options = variant.attributes.get("options")
        names |= dict.fromkeys(map(str, options)) if isinstance(options, dict) else {}
    return tuple(names)[: len(columns.OPTION_NAMES)]


def _needs_quotes(text: str) -> bool:
    return any(sign in text for sign in ',"\r\n')
