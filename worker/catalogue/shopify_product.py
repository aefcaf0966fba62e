"""One product's lines of a Shopify CSV -> the product, its variants and images, or the reasons against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from worker.catalogue import cells, checks, columns
from worker.catalogue.checks import BadValue
from worker.catalogue.product import Image, Product, Refusal
from worker.catalogue.shopify_kept import Layout, Place, Reading, Row, child_attributes, parent_attributes
from worker.catalogue.shopify_lines import Check, Head, Line, Variant

_NO_VARIANT: Final = "none of its variants could be taken"


@dataclass(slots=True)
class Built:
    """What became of a product's lines. No products: all of its lines are refused."""

    products: list[Product] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def build(lines: Sequence[Line], layout: Layout, skus: dict[str, int], place: Place) -> Built:
    """The product of these lines, its variants after it. Enters its SKUs into `skus` (SKU -> line)."""
    reading, refusals = _read(lines, layout, skus)
    if reading is None:
        return _without_first(refusals, lines)
    built = Built(refusals=refusals)
    for product in _products(reading, layout, place):
        try:
            checks.attributes(product.attributes)
        except BadValue as bad:
            refusal = Refusal(product.line, None, str(bad))
            built.refusals.append(refusal)
            if product.parent_sku is None:
                return _without_first(built.refusals, lines)
        else:
            built.products.append(product)
    if not reading.single and len(built.products) == 1:
        return _without_first([Refusal(lines[0].line, None, _NO_VARIANT), *built.refusals], lines)
    skus.update((product.sku, product.line) for product in built.products)
    return built


def _read(
    lines: Sequence[Line], layout: Layout, skus: dict[str, int]
) -> tuple[Reading | None, list[Refusal]]:
    """What the good lines say; None when the first is not among them."""
    check = Check(lines[0])
    head = check.head()
    names = head.option_names if head else ()
    sellers = {row for row, line in enumerate(lines) if line.sells} or {0}
    single = sellers == {0} and not names
    claimed: dict[str, int] = {}
    if not single:
        _claim(check, columns.HANDLE, cells.derived_sku(lines[0].handle), skus, claimed)
    rows: list[Row] = []
    refusals: list[Refusal] = []
    for number, line in enumerate(lines):
        check = check if number == 0 else Check(line)
        variant = check.variant(names, layout.currency) if number in sellers else None
        image = check.image({row.image.position for row in rows if row.image})
        if variant:
            _claim(check, columns.SKU, variant.sku, skus, claimed)
        if not check.refusals:
            rows.append(Row(len(rows), line, variant, image))
        refusals += check.refusals
        if number == 0 and (check.refusals or head is None):
            return None, refusals
    if not any(row.variant for row in rows):
        return None, [Refusal(lines[0].line, None, _NO_VARIANT), *refusals]
    return Reading(_known(head), tuple(rows), single=single), refusals


def _claim(check: Check, column: str, sku: str, skus: dict[str, int], claimed: dict[str, int]) -> None:
    before = skus.get(sku) or claimed.get(sku)
    if before is None:
        claimed[sku] = check.line.line
        return
    given = check.line.cell(columns.SKU).strip() == sku
    what = f"the SKU {checks.shown(sku)}" + ("" if given else ", derived from the handle and the options,")
    check.refuse(column, f"{what} was used on line {before}")


def _products(reading: Reading, layout: Layout, place: Place) -> list[Product]:
    first = reading.rows[0]
    sold = [row for row in reading.rows if row.variant]
    main = sold[0].variant if sold else None
    handle_sku = cells.derived_sku(first.line.handle)
    parent = Product(
        line=first.line.line,
        sku=main.sku if main and reading.single else handle_sku,
        name=reading.head.name,
        description=reading.head.description,
        status=reading.head.status,
        currency=layout.currency,
        price=main.price if main else Decimal(0),
        quantity=main.quantity if main and reading.single else None,
        attributes=parent_attributes(reading, layout, place),
        images=_images(reading) if columns.IMAGE_SRC in layout.header else None,
    )
    if reading.single:
        return [parent]
    return [parent, *(_child(row, row.variant, parent, reading, layout) for row in sold if row.variant)]


def _child(row: Row, variant: Variant, parent: Product, reading: Reading, layout: Layout) -> Product:
    values = " / ".join(value for value in variant.values if value)
    return Product(
        line=row.line.line,
        sku=variant.sku,
        parent_sku=parent.sku,
        name=cells.variant_name(parent.name, values),
        status=parent.status,
        price=variant.price,
        currency=layout.currency,
        quantity=variant.quantity,
        attributes=child_attributes(row, variant, reading, layout),
    )


def _without_first(refusals: list[Refusal], lines: Sequence[Line]) -> Built:
    reason = f"its product's first line, {lines[0].line}, was refused"
    named = {refusal.line for refusal in refusals}
    others = [Refusal(line.line, None, reason) for line in lines if line.line not in named]
    return Built(refusals=sorted([*refusals, *others], key=lambda refusal: refusal.line))


def _images(reading: Reading) -> tuple[Image, ...]:
    return tuple(sorted((row.image for row in reading.rows if row.image), key=lambda image: image.position))


def _known(head: Head | None) -> Head:
    if head is None:
        raise AssertionError("a first line without a head is refused")
    return head
