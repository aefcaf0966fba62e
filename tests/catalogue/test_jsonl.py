"""JSON Lines: read, refused, written, read again."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.catalogue.sheets import stored
from worker.catalogue.jsonl import JsonLinesReader, json_line
from worker.catalogue.product import MAX_LINES_PER_PRODUCT, Group, Image, Product, Refusal


def read(*lines: object) -> tuple[list[Product], list[Refusal]]:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    found = list(JsonLinesReader(io.StringIO(text), currency="EUR"))
    products = [product for each in found if isinstance(each, Group) for product in each.products]
    return products, [each for each in found if isinstance(each, Refusal)]


def test_a_line_is_a_product() -> None:
    products, refused = read(
        {
            "sku": "TENT-2P",
            "name": "Zelt für zwei",
            "price": "189.00",
            "status": "active",
            "attributes": {"colour": "green"},
            "quantity": 4,
            "images": [
                {"source_url": "https://e.x/1.jpg"},
                {"source_url": "https://e.x/2.jpg", "alt_text": "b"},
            ],
        },
        {"sku": "TENT-2P-RED", "parent_sku": "TENT-2P", "name": "Red", "price": 190},
    )
    assert refused == []
    tent, red = products
    assert (tent.price, tent.currency, tent.quantity) == (Decimal("189.00"), "EUR", 4)
    assert tent.images == (Image("https://e.x/1.jpg", 1), Image("https://e.x/2.jpg", 2, "b"))
    assert (red.parent_sku, red.line, red.price) == ("TENT-2P", 2, Decimal(190))
    assert red.images is None


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("{not json", None, "is not JSON"),
        ('{"sku": "a", "name": "a", "price": NaN}', None, "NaN is not a number"),
        ("[" * 100_000, None, "is not JSON"),
        ("[]", None, "valid dictionary"),
        ({"sku": "a", "name": "a"}, "price", "required"),
        ({"sku": "a", "name": "a", "price": 1.1}, "price", "valid string"),
        ({"sku": "a", "name": "a", "price": "1,10"}, "price", "is not a price"),
        ({"sku": "a", "name": "a", "price": "1", "colour": "red"}, "colour", "Extra inputs"),
        ({"sku": "a", "name": "a", "price": "1", "\x1b[31m": 1}, "\\x1b[31m", "Extra inputs"),
        ({"sku": "a", "name": "", "price": "1"}, "name", "is empty"),
        ({"sku": "a", "name": "a", "price": "1", "quantity": -1}, "quantity", "greater than or equal to 0"),
        ({"sku": "a", "name": "a", "price": "1", "quantity": 1.5}, "quantity", "valid integer"),
        ({"sku": "a", "name": "a\x00", "price": "1"}, "name", "U+0000"),
        ({"sku": "first", "name": "a", "price": "1"}, "sku", "used on line 1"),
        ({"sku": "a", "name": "a", "price": "1", "attributes": {"x": "y" * 70_000}}, "attributes", "70,"),
        ({"sku": "a", "name": "a", "price": "1", "attributes": {"x": ["a\x00"]}}, "attributes", "U+0000"),
        ({"sku": "a", "name": "a", "price": "1", "attributes": {"x\x00": 1}}, "attributes", "U+0000"),
        ('{"sku": "a", "name": "a", "price": "1", "attributes": {"x": 1e400}}', "attributes", "too large"),
        (
            {"sku": "a", "name": "a", "price": "1", "images": [{"source_url": "x"}]},
            "images.0.source_url",
            "http",
        ),
        ("x" * 1_100_000, None, "longer than"),
    ],
)
def test_a_bad_line_is_refused_alone(line: object, column: str | None, reason: str) -> None:
    first, last = {"sku": "first", "name": "A", "price": "1"}, {"sku": "last", "name": "Z", "price": "1"}
    products, refused = read(first, line, last)
    assert [product.sku for product in products] == ["first", "last"]
    assert [each.line for each in refused] == [2]
    assert refused[0].reason.isprintable()
    assert reason in refused[0].reason
    if column:
        assert (refused[0].column or "").startswith(column)


def test_a_variant_stands_with_its_product() -> None:
    products, refused = read(
        {"sku": "a", "name": "A", "price": "1"},
        {"sku": "b", "name": "B", "price": "1"},
        {"sku": "a-1", "parent_sku": "a", "name": "A1", "price": "1"},
        {"sku": "z-1", "parent_sku": "z", "name": "of the catalogue", "price": "1"},
    )
    assert [product.sku for product in products] == ["a", "b", "z-1"]
    assert [(each.line, each.column) for each in refused] == [(3, "parent_sku")]
    assert "on line 1" in refused[0].reason


def test_a_product_has_no_more_variants_than_memory_is_meant_for() -> None:
    variants = [
        {"sku": f"a-{n}", "parent_sku": "a", "name": "A", "price": "1"}
        for n in range(MAX_LINES_PER_PRODUCT + 2)
    ]
    products, refused = read({"sku": "a", "name": "A", "price": "1"}, *variants)
    assert len(products) == MAX_LINES_PER_PRODUCT
    assert [each.line for each in refused] == [MAX_LINES_PER_PRODUCT + n for n in (1, 2, 3)]
    assert "more than 5,000 lines" in refused[0].reason


texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x7E), min_size=1, max_size=20).filter(
    str.strip
)


@given(
    sku=texts,
    name=texts,
    price=st.decimals(0, 10**12, places=2),
    quantity=st.none() | st.integers(1, 10**6),
    attributes=st.dictionaries(
        texts, st.recursive(st.none() | st.integers() | texts, st.lists, max_leaves=3)
    ),
)
def test_what_is_written_reads_the_same(
    sku: str, name: str, price: Decimal, quantity: int | None, attributes: dict[str, object]
) -> None:
    product = Product(
        line=1, sku=sku.strip(), name=name.strip(), price=price, currency="EUR", quantity=quantity,
        attributes=attributes, images=(Image("https://e.x/1.jpg", 3, "one"),),
    )  # fmt: skip
    products, refused = read(json_line(stored(product), None))
    assert refused == []
    assert products == [product]
