"""Broken, strange and enormous files: what is refused, where, why; and that the rest goes in."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalogue.sheets import item, line, read, sheet
from worker.catalogue.product import Group, UnusableFile
from worker.catalogue.shopify import ShopifyReader
from worker.catalogue.source import inspect

BAD = Path(__file__).with_name("bad.csv")


def test_each_bad_line_is_named_with_its_column_and_the_good_ones_go_in() -> None:
    products, refused = read(BAD.read_text(encoding="utf-8"))
    assert [product.sku for product in products] == ["GOOD-1", "good-2", "GOOD-2-S", "GOOD-3", "GOOD-4"]
    assert [str(each) for each in refused] == [
        'line 3, Variant Price: "cheap" is not a price: digits with a point before the cents, such as 12.50',
        'line 5, Variant Inventory Qty: "-2" is negative; what is owed to customers is not stock',
        'line 6, Variant Inventory Qty: "0.5" is a fraction; stock is counted in whole pieces',
        'line 7, Image Src: "ftp://e.x/1.jpg" is not an http or https address',
        'line 8, Variant SKU: the SKU "GOOD-1" was used on line 2',
        "line 9: has 11 cells where the header has 10",
        "line 10: has 3 cells where the header has 10",
        "line 11: the quotes do not balance: text follows a closing quote",
        "line 13, Title: contains the control character U+0007",
        "line 14, Handle: is empty",
        'line 15, Published: "perhaps" is not true or false',
        "line 16, Title: is empty; a product's first line carries it (was the line before refused?)",
        'line 17, Variant Price: "9.999" has more decimals than USD has (2)',
    ]


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    good = sheet(item("a", "Å", Vendor='says "hi"'), item("c"), item("d", Vendor="two, and\nmore"))
    lines = good.splitlines(keepends=True)
    products, refused = read("".join([*lines[:2], 'b,"never closed,,,,,,,,,,9.90,,,,,\n', *lines[2:]]))
    assert [product.sku for product in products] == ["a", "c", "d"]
    assert [each.line for each in refused] == [3]
    assert "quote" in refused[0].reason


def test_a_quote_that_is_never_closed_at_the_end_of_the_file() -> None:
    products, refused = read(sheet(item("a")) + 'b,"never closed,,,,,,\nc,,,')
    assert [product.sku for product in products] == ["a"]
    assert [each.line for each in refused] == [3]
    assert refused[0].reason == "a quote is opened and never closed; nothing readable up to line 4"


def test_a_name_of_5000_characters_is_refused_and_a_long_cell_too() -> None:
    products, refused = read(
        sheet(
            item("a", "n" * 5000),
            item("b", **{"Body (HTML)": "ü" * 40_000}),
            item("c", **{"Body (HTML)": "b" * 200_000}),
            item("d", **{"Body (HTML)": "b" * 3_000_000}),
            item("e", "n" * 500),
        )
    )
    assert [product.sku for product in products] == ["e"]
    assert [(each.line, each.column) for each in refused] == [
        (2, "Title"),
        (3, "Body (HTML)"),
        (4, None),
        (5, None),
    ]
    assert "has 5,000 characters; at most 500" in refused[0].reason
    assert "longer than 65,536 bytes" in refused[1].reason


def test_a_variant_of_a_long_name_gets_a_name_that_fits() -> None:
    products, refused = read(sheet(item("a", "n" * 500, Option1_Name="Size", Option1_Value="S")))
    assert refused == []
    assert len(products[1].name) == 500
    assert products[1].name.endswith("… - S")


def test_cells_that_do_not_fit_beside_a_product_are_refused_with_it() -> None:
    wide = sheet(item("a", Vendor="v" * 40_000, Variant_Barcode="b" * 40_000), item("b"))
    products, refused = read(wide)
    assert [product.sku for product in products] == ["b"]
    assert "other cells take 80," in refused[0].reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("Title,Variant Price\n", 'lacks the column "Handle"'),
        ("Handle,Titel\n", 'lacks the column "Title", "Variant Price"'),
        ("Handle;Title;Variant Price\n", "separated by something other than commas"),
        ("Handle,Title,Variant Price,Title\n", 'has "Title" more than once'),
        ('Handle,"Title,Variant Price\n', "line 1: the header cannot be read"),
        ("Handle,Title,Variant Price,\x1b[31m\n", "U+001B"),
    ],
)
def test_a_header_that_cannot_be_used_says_why(header: str, reason: str) -> None:
    with pytest.raises(UnusableFile) as caught:
        read(header)
    assert reason in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_file_of_a_header_alone_is_no_error() -> None:
    assert read(sheet()) == ([], [])


def test_a_message_never_carries_a_terminals_escapes() -> None:
    _, refused = read(sheet(item("a", Variant_Price="9\x9b31m")) + sheet(item("b", Variant_Price="\u202e1")))
    assert all(each.reason.isprintable() for each in refused)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Handle\nok\ncaf\xe9 noir\n", "line 3: byte 14 of the file (0xE9) is not UTF-8"),
        (b"a" * ((1 << 20) - 1) + b"\n" * 2 + b"\xfc", "line 3: byte 1,048,578 of the file (0xFC)"),
        (b"a" * ((1 << 20) - 1) + b"\xc3", "line 1: byte 1,048,576 of the file (0xC3)"),
        ("Handle\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04rest", "a spreadsheet"),
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
    ],
)
def test_bytes_that_are_no_utf8_are_refused_before_anything_is_done(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(UnusableFile) as caught:
        inspect(path)
    assert reason in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="No such file"):
        inspect(tmp_path / "none.csv")
    with pytest.raises(UnusableFile, match="not a file"):
        inspect(tmp_path)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_are_understood(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "file.csv"
    text = sheet(item("a", **{"Body (HTML)": "one\ntwo"}), item("b"), newline=newline).rstrip(newline)
    path.write_bytes(text.encode("utf-8-sig"))
    source = inspect(path)
    assert (source.bom, source.newline, source.terminated) == (True, newline, False)
    with source.open() as stream:
        found = list(ShopifyReader(stream, currency="USD", bom=source.bom, newline=newline, terminated=False))
    first, last = (each.products[0] for each in found if isinstance(each, Group))
    assert first.description == "one\ntwo"
    assert first.attributes["shopify"]["file"]["newline"] == newline
    assert last.attributes["shopify"]["unterminated"] is True


def test_a_product_of_too_many_lines_is_cut_and_says_so() -> None:
    variants = (line("a", Variant_SKU=f"A-{n}", Variant_Price="1") for n in range(5_001))
    products, refused = read(sheet(item("a", Variant_SKU="A"), *variants))
    assert len(products) == 1 + 5_000
    assert [each.line for each in refused] == [5_002, 5_003]


def test_a_large_file_is_read_in_little_memory() -> None:
    stream = _Endless(products=5_000)
    tracemalloc.start()
    try:
        count = sum(isinstance(each, Group) for each in ShopifyReader(stream, currency="USD"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5_000
    # 5,000 products are 20 MB of text; what stays is their handles and SKUs
    assert peak < 4_000_000


class _Endless(io.StringIO):
    """A file that is made up while it is read."""

    def __init__(self, *, products: int) -> None:
        super().__init__()
        self._lines = self._write(products)

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # typeshed: bytes, by IOBase
        return next(self._lines, "")

    @staticmethod
    def _write(products: int) -> Iterator[str]:
        yield "Handle,Title,Body (HTML),Variant Price\n"
        for number in range(products):
            yield f"p-{number},Product {number},{'x' * 4000},9.90\n"
