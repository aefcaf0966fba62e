"""What an export writes of an untouched import: the very lines that were taken, in their order."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.catalogue.sheets import exported, item, line, read, reader, sheet, stored
from worker.catalogue.columns import STANDARD_HEADER
from worker.catalogue.product import Family, Image, Refusal, Stored
from worker.catalogue.shopify_export import csv_line, merged_header, render

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests/demo/catalogue.csv"
REAL = ROOT.parent / "shared/data/shopify-apparel.csv"

COLUMNS = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Published", "Option1 Name", "Option1 Value", "Option2 Name",
    "Option2 Value", "Variant SKU", "Variant Inventory Qty", "Variant Price", "Variant Barcode", "Image Src",
    "Image Position", "Image Alt Text", "Status", "Something else",
)  # fmt: skip

free_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(["\n", "\r", "\t", '"', ","]),
    max_size=12,
)
likely = {
    "Handle": st.sampled_from(["a", "b", "c d", "Å"]),
    "Title": st.sampled_from(["", "Tent", " Tent ", "=1+1", "x" * 501]),
    "Published": st.sampled_from(["", "true", "TRUE", "false", "1"]),
    "Status": st.sampled_from(["", "active", "Draft", "archived"]),
    "Option1 Name": st.sampled_from(["", "Size", "Title"]),
    "Option1 Value": st.sampled_from(["", "S", "L", "Default Title"]),
    "Option2 Name": st.sampled_from(["", "Colour"]),
    "Option2 Value": st.sampled_from(["", "Red"]),
    "Variant SKU": st.sampled_from(["", "", "A-1", " A-2 "]),
    "Variant Inventory Qty": st.sampled_from(["", "0", "3", " 3", "007", "-1"]),
    "Variant Price": st.sampled_from(["", "50", "50.00", "0.5", "9.999", "x"]),
    "Image Src": st.sampled_from(["", "https://e.x/1.jpg", " https://e.x/2.jpg", "nothing"]),
    "Image Position": st.sampled_from(["", "1", "2", "07", "0"]),
}
good = likely | {
    "Title": st.sampled_from(["Tent", " Tent ", "=1+1"]),
    "Variant Inventory Qty": st.sampled_from(["", "0", "3", "007"]),
    "Variant Price": st.sampled_from(["", "50", "50.00", "0.5"]),
    "Image Src": st.sampled_from(["", "https://e.x/1.jpg", " https://e.x/2.jpg"]),
    "Image Position": st.sampled_from(["", "1", "2", "07"]),
}


def lists_of(cells: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[list[dict[str, str]]]:
    row = st.fixed_dictionaries({column: cells.get(column, free_text) for column in COLUMNS})
    return st.lists(row, max_size=7).map(lambda found: sorted(found, key=lambda row: row["Handle"]))


rows = lists_of(likely)
good_rows = lists_of(good)


@settings(max_examples=300, deadline=None)
@given(rows=rows, header=st.permutations(COLUMNS), seed=st.integers(0, 9))
def test_every_line_that_is_taken_comes_back(
    rows: list[dict[str, str]], header: list[str], seed: int
) -> None:
    text = sheet(*rows, header=header, newline="\r\n")
    found = list(reader(text))
    refused = {each.line for each in found if isinstance(each, Refusal)}
    assert exported(header, found, seed) == _without(text, refused)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(rows=good_rows)
def test_reading_what_was_exported_gives_the_same_products(rows: list[dict[str, str]]) -> None:
    found = list(reader(sheet(*rows, header=COLUMNS)))
    # without its refused lines, a product with variants may read as one without
    assume(not any(isinstance(group, Refusal) for group in found))
    again = sheet(*(dict(zip(COLUMNS, row, strict=True)) for row in exported(COLUMNS, found)), header=COLUMNS)
    products, refused = read(again)
    assert refused == []
    before = [product for group in found if not isinstance(group, Refusal) for product in group.products]
    assert [replace(product, line=0) for product in products] == [
        replace(product, line=0) for product in before
    ]


@pytest.mark.parametrize("path", [DEMO, REAL], ids=["demo", "real export"])
def test_a_file_comes_back_byte_for_byte(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this repository")
    text = path.read_bytes().decode()
    newline = "\r\n" if "\r\n" in text else "\n"
    found = list(reader(text))
    header = next(csv.reader(io.StringIO(text)))
    refused = {each.line for each in found if isinstance(each, Refusal)}
    written = newline.join(csv_line(row) for row in [header, *exported(header, found)])
    expected = newline.join(csv_line(row) for row in [header, *_without(text, refused)])
    assert written == expected
    if path == REAL:
        assert refused == set()
        assert written == text
    else:
        # on purpose, so that the demo shows what a bad line gets: a negative quantity and a price in words
        assert refused == {20, 26}


def test_an_edit_shows_and_leaves_the_other_cells_as_they_were() -> None:
    text = sheet(item("a", " Mug ", Variant_Price="50", Variant_Inventory_Qty=" 3", Published="TRUE"))
    products, _ = read(text)
    before = stored(products[0])
    after = replace(before, name="Cup", price=Decimal("49.5"), on_hand=2, status="archived")
    header = ("Title", "Variant Price", "Variant Inventory Qty", "Published", "Variant SKU", "Status")
    assert render(Family(before), header) == [[" Mug ", "50", " 3", "TRUE", "", ""]]
    assert render(Family(after), header) == [["Cup", "49.50", "2", "false", "", "archived"]]


def test_images_and_variants_that_came_later_get_lines_of_their_own() -> None:
    products, _ = read(
        sheet(
            item(
                "a", Option1_Name="Size", Option1_Value="S", Image_Src="https://e.x/1.jpg", Image_Position="1"
            ),
            line("a", Image_Src="https://e.x/2.jpg", Image_Position="2"),
        )
    )
    parent, small = map(stored, products)
    images = (parent.images[0], Image("https://e.x/9.jpg", 9))
    large = Stored(
        sku="NEW", name="A - L", description="", status="draft", price=Decimal(7), currency="USD",
        attributes={"options": {"Size": "L"}},
    )  # fmt: skip
    header = ("Handle", "Option1 Value", "Variant SKU", "Variant Price", "Image Src")
    assert render(Family(replace(parent, images=images), (small, large)), header) == [
        ["a", "S", "", "9.90", "https://e.x/1.jpg"],
        ["a", "L", "NEW", "7.00", ""],
        ["a", "", "", "", "https://e.x/9.jpg"],
    ]


def test_a_product_of_the_pms_becomes_a_line_that_can_be_imported() -> None:
    product = Stored(
        sku="X 1/2", name="Made by hand", description="<p>…</p>", status="active", price=Decimal("3.5"),
        currency="EUR", attributes={"shopify": "garbled"}, on_hand=4,
    )  # fmt: skip
    header = merged_header([])
    assert header == STANDARD_HEADER
    text = "\n".join(csv_line(row) for row in [header, *render(Family(product), header)])
    (again,), refused = read(text, currency="EUR")
    assert refused == []
    assert (again.sku, again.name, again.status, again.quantity) == ("X 1/2", "Made by hand", "active", 4)


def _without(text: str, refused: set[int]) -> list[list[str]]:
    """The file's records but the header and those that start on a refused line."""
    records = csv.reader(io.StringIO(text, newline=""))
    kept, start = [], 1
    for cells in records:
        if start not in refused | {1} and cells:
            kept.append(cells)
        start = records.line_num + 1
    return kept
