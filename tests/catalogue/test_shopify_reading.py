"""Lines of a Shopify CSV -> products, variants, images."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.catalogue.sheets import item, line, read, sheet
from worker.catalogue.product import Image


def test_a_product_without_options_stays_one_product() -> None:
    products, refused = read(
        sheet(
            item(
                "stove",
                "Trail Stove",
                Option1_Name="Title",
                Option1_Value="Default Title",
                Variant_SKU="STV-1",
                Variant_Price="49.90",
                Variant_Inventory_Qty="24",
                Status="active",
                Vendor="Fjellmat",
            )
        )
    )
    assert refused == []
    (stove,) = products
    assert (stove.sku, stove.parent_sku, stove.name) == ("STV-1", None, "Trail Stove")
    assert (stove.price, stove.currency, stove.quantity, stove.status) == (
        Decimal("49.90"),
        "USD",
        24,
        "active",
    )
    assert stove.line == 2
    assert stove.attributes["shopify"]["cells"]["Vendor"] == "Fjellmat"


def test_variants_become_children_after_their_parent() -> None:
    products, refused = read(
        sheet(
            item(
                "mug",
                "Mug",
                Option1_Name="Size",
                Option1_Value="S",
                Option2_Name="Colour",
                Option2_Value="Blå",
            ),
            line("mug", Option1_Value="L", Option2_Value="Blå", Variant_Price="12.00", Variant_SKU="MUG-L"),
        )
    )
    assert refused == []
    parent, small, large = products
    assert (parent.sku, parent.parent_sku, parent.price, parent.quantity) == (
        "mug",
        None,
        Decimal("9.90"),
        None,
    )
    assert (small.sku, small.parent_sku, small.name) == ("mug-s-blå", "mug", "Mug - S / Blå")
    assert small.attributes["options"] == {"Size": "S", "Colour": "Blå"}
    assert (large.sku, large.parent_sku, large.line) == ("MUG-L", "mug", 3)


def test_image_lines_become_images_in_their_positions() -> None:
    products, refused = read(
        sheet(
            item("pot", Image_Src="https://e.x/b.jpg", Image_Position="2", Image_Alt_Text="Pot over embers"),
            line("pot", Image_Src="https://e.x/a.jpg", Image_Position="1"),
            line("pot", Image_Src="https://e.x/c.jpg"),
        )
    )
    assert refused == []
    assert products[0].images == (
        Image("https://e.x/a.jpg", 1),
        Image("https://e.x/b.jpg", 2, "Pot over embers"),
        Image("https://e.x/c.jpg", 3),
    )


@pytest.mark.parametrize(
    ("published", "status", "expected"),
    [
        ("true", "", "active"),
        ("TRUE", "", "active"),
        ("false", "", "draft"),
        ("", "", "draft"),
        ("true", "archived", "archived"),
        ("false", "Active", "active"),
    ],
)
def test_status_decides_and_published_stands_in(published: str, status: str, expected: str) -> None:
    products, refused = read(sheet(item("x", Published=published, Status=status)))
    assert refused == []
    assert products[0].status == expected


def test_a_price_has_no_more_decimals_than_its_currency() -> None:
    text = sheet(item("a", Variant_Price="1.50"), item("b", Variant_Price="150.00"))
    products, refused = read(text, currency="JPY")
    assert [product.price for product in products] == [Decimal("150.00")]
    assert [(each.line, each.column) for each in refused] == [(2, "Variant Price")]
    assert "more decimals than JPY has (0)" in refused[0].reason


def test_an_exact_price_stays_exact() -> None:
    products, _ = read(sheet(item("a", Variant_Price="12345678901234.56")))
    assert str(products[0].price) == "12345678901234.56"


def test_a_sku_that_was_used_is_refused_where_it_comes_again() -> None:
    products, refused = read(
        sheet(
            item("a", Variant_SKU="ONE"),
            item("b", Variant_SKU="ONE"),
            item("c", Option1_Name="Size", Option1_Value="S"),
            line("c", Option1_Value="s", Variant_Price="1.00"),
        )
    )
    assert [product.sku for product in products] == ["ONE", "c", "c-s"]
    assert [(each.line, each.column) for each in refused] == [(3, "Variant SKU"), (5, "Variant SKU")]
    assert 'the SKU "ONE" was used on line 2' in refused[0].reason
    assert "derived from the handle and the options, was used on line 4" in refused[1].reason


def test_a_refused_first_line_takes_its_product_along() -> None:
    products, refused = read(
        sheet(
            item("a", Variant_Price="dear", Option1_Name="Size", Option1_Value="S"),
            line("a", Option1_Value="L", Variant_Price="2.00"),
            line("a", Image_Src="https://e.x/a.jpg"),
            item("b"),
        )
    )
    assert [product.sku for product in products] == ["b"]
    assert [each.line for each in refused] == [2, 3, 4]
    assert "first line, 2, was refused" in refused[1].reason


def test_a_bad_variant_leaves_the_others_alone() -> None:
    products, refused = read(
        sheet(
            item("a", Option1_Name="Size", Option1_Value="S"),
            line("a", Option1_Value="M", Variant_Price="2.00", Variant_Inventory_Qty="1.5"),
            line("a", Option1_Value="L", Variant_Price="2.00"),
        )
    )
    assert [product.sku for product in products] == ["a", "a-s", "a-l"]
    assert [str(each) for each in refused] == [
        'line 3, Variant Inventory Qty: "1.5" is a fraction; stock is counted in whole pieces'
    ]


def test_lines_of_a_product_stand_together() -> None:
    products, refused = read(sheet(item("a"), item("b"), line("a", Image_Src="https://e.x/a.jpg")))
    assert [product.sku for product in products] == ["a", "b"]
    assert [each.line for each in refused] == [4]
    assert "must stand together" in refused[0].reason


def test_line_numbers_are_those_of_the_file() -> None:
    text = sheet(item("a", **{"Body (HTML)": "one\ntwo\r\nthree"}), item("b", Variant_Price="?"))
    _, refused = read(text.replace("\nb,", "\n\n\nb,"))
    assert [each.line for each in refused] == [7]


def test_a_product_put_in_between_changes_its_neighbour_alone() -> None:
    before, _ = read(sheet(item("a"), item("b"), item("c")))
    after, _ = read(sheet(item("a"), item("new"), item("b"), item("c")))
    then = {product.sku: product.attributes for product in before}
    now = {product.sku: product.attributes for product in after}
    assert [sku for sku in then if then[sku] != now[sku]] == ["b"]


def test_formulas_are_left_alone() -> None:
    products, refused = read(sheet(item("a", "=1+1", Vendor="@SUM(A1)", Variant_SKU="+49")))
    assert refused == []
    assert (products[0].name, products[0].sku) == ("=1+1", "+49")
    assert products[0].attributes["shopify"]["cells"]["Vendor"] == "@SUM(A1)"


def test_a_long_handle_gives_a_short_sku_that_is_still_its_own() -> None:
    one, two = "x" * 150, "x" * 149 + "y"
    products, refused = read(sheet(item(one), item(two)))
    assert refused == []
    assert [len(product.sku) for product in products] == [100, 100]
    assert products[0].sku != products[1].sku
