"""JSON Lines: one product a line, in the worker's own form.

    {"sku": "TENT-2P", "name": "Two-person tent", "price": "189.00", "currency": "EUR", "status": "active",
     "description": "<p>…</p>", "attributes": {"colour": "green"}, "quantity": 4,
     "images": [{"source_url": "https://…", "position": 1, "alt_text": "pitched"}]}
    {"sku": "TENT-2P-RED", "parent_sku": "TENT-2P", "name": "Two-person tent - Red", "price": "189.00"}

`sku`, `name` and `price` are needed; a price is text or a whole number, for a fraction in JSON is not exact.
An unknown key is refused. A line says all of its product: what it leaves out is emptied, but images and
stock, which are left alone. Variants stand right after their product; a `parent_sku` that the file does not
name before must be in the catalogue already. An export writes every key, in the order of `order.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TextIO

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from worker.catalogue import cells, checks
from worker.catalogue.checks import BadValue
from worker.catalogue.product import MAX_LINES_PER_PRODUCT, Group, Image, Product, Refusal, Stored

MAX_LINE: Final = 1 << 20


class _Image(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source_url: Annotated[str, AfterValidator(checks.image_url)]
    position: Annotated[int, Field(ge=1, le=999_999)] | None = None
    alt_text: Annotated[str, AfterValidator(checks.plain), Field(max_length=checks.MAX_ALT_TEXT)] | None = (
        None
    )


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sku: Annotated[str, AfterValidator(checks.sku)]
    name: Annotated[str, AfterValidator(checks.name)]
    price: str | int
    parent_sku: Annotated[str, AfterValidator(checks.sku)] | None = None
    description: Annotated[str, AfterValidator(checks.plain)] = ""
    status: Literal["draft", "active", "archived"] = "draft"
    currency: Annotated[str, AfterValidator(checks.currency)] | None = None
    attributes: Annotated[dict[str, Any], AfterValidator(checks.attributes)] = {}
    images: list[_Image] | None = None
    quantity: Annotated[int, Field(ge=0, le=checks.MAX_QUANTITY)] | None = None


class JsonLinesReader:
    """Iterates over the products of a JSON Lines file as `Group`, over refused lines as `Refusal`."""

    def __init__(self, stream: TextIO, *, currency: str) -> None:
        self._stream = stream
        self._currency = currency
        self._skus: dict[str, int] = {}

    def __iter__(self) -> Iterator[Group | Refusal]:
        group: list[Product] = []
        for found in self._products():
            if isinstance(found, Refusal):
                yield found
            elif found.parent_sku is not None and group and found.parent_sku == _family(group[0]):
                if len(group) < MAX_LINES_PER_PRODUCT:
                    group.append(found)
                else:
                    yield Refusal(
                        found.line, None, f"its product has more than {MAX_LINES_PER_PRODUCT:,} lines"
                    )
            elif found.parent_sku in self._skus:
                line = self._skus[found.parent_sku]
                reason = f"a variant stands right after its product, which is on line {line}"
                yield Refusal(found.line, "parent_sku", reason)
            else:
                if group:
                    yield _group(group)
                group = [found]
        if group:
            yield _group(group)

    def _products(self) -> Iterator[Product | Refusal]:
        number = 0
        while line := self._stream.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                while line and not line.endswith("\n"):
                    line = self._stream.readline(MAX_LINE)
                yield Refusal(number, None, f"is longer than {MAX_LINE:,} characters")
            elif line.strip():
                yield self._product(number, line)

    def _product(self, number: int, line: str) -> Product | Refusal:
        try:
            row = _Row.model_validate(json.loads(line, parse_constant=_no_constant))
            currency = row.currency or self._currency
            price = checks.price(str(row.price), currency)
        except ValidationError as error:
            first = error.errors()[0]
            # a key of the file's own choosing, perhaps
            where = checks.shown(".".join(map(str, first["loc"])), 80)[1:-1] or None
            return Refusal(number, where, first["msg"].removeprefix("Value error, ")[:300])
        except BadValue as bad:
            return Refusal(number, "price", str(bad))
        except (ValueError, RecursionError) as error:
            return Refusal(number, None, f"is not JSON: {str(error)[:200]}")
        if before := self._skus.get(row.sku):
            return Refusal(number, "sku", f"the SKU {checks.shown(row.sku)} was used on line {before}")
        self._skus[row.sku] = number
        return Product(
            line=number,
            sku=row.sku,
            parent_sku=row.parent_sku,
            name=row.name,
            description=row.description,
            status=row.status,
            price=price,
            currency=currency,
            attributes=row.attributes,
            images=None if row.images is None else _numbered(row.images),
            quantity=row.quantity,
        )


def json_line(product: Stored, parent_sku: str | None) -> str:
    """A stored product as a line of this form, without its end."""
    fields: Mapping[str, Any] = {
        "sku": product.sku,
        "parent_sku": parent_sku,
        "name": product.name,
        "description": product.description,
        "status": product.status,
        "price": cells.price_text(product.price, product.currency),
        "currency": product.currency,
        "attributes": product.attributes,
        "images": [
            {"source_url": image.source_url, "position": image.position, "alt_text": image.alt_text}
            for image in product.images
        ],
        "quantity": product.on_hand,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _family(first: Product) -> str:
    return first.parent_sku or first.sku


def _group(products: list[Product]) -> Group:
    return Group(tuple(products), len(products), products[-1].line)


def _numbered(images: list[_Image]) -> tuple[Image, ...]:
    numbered: list[Image] = []
    for image in images:
        position = image.position or max((each.position for each in numbered), default=0) + 1
        numbered.append(Image(image.source_url, position, image.alt_text))
    return tuple(numbered)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")
