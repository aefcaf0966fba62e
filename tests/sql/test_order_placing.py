"""Placing an order prices, reserves and numbers it, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, Database
from tests.sql.ask import column, rows, value
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_location, found_company, receive, stock_line
from tests.sql.inventory import assert_books_agree, command
from tests.sql.ordering import Shop, add_priced, open_shop, place, stock, wants

CUSTOMER = {"name": "Ann Sold", "email": "ann@example.com", "address": {"city": "Porto"}}


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    return await open_shop(db, company)


async def test_an_order_is_a_snapshot_with_its_stock_held(db: Connection, shop: Shop) -> None:
    await stop_clock(db)
    lines = [wants(shop.shirt, 2, tax_rate=0.19), wants(shop.sock, 3)]
    held = dt.timedelta(hours=2)
    order = await place(db, shop.company, lines, customer=CUSTOMER, key="o-1", reserve_for=held)
    assert {name: order[name] for name in ("number", "status", "currency", "customer", "version")} == {
        "number": "A-000001", "status": "placed", "currency": "USD", "customer": CUSTOMER, "version": 1,
    }  # fmt: skip
    assert (order["net_total"], order["tax_total"], order["total"]) == (36.97, 4.75, 41.72)
    assert order["legal_events"] == ["cancel", "pay"]
    told = ("sku", "name", "unit_price", "quantity", "net_total", "tax_total", "total")
    assert [tuple(line[name] for name in told) for line in order["lines"]] == [
        ("SHIRT", "Shirt", 12.5, 2, 25, 4.75, 29.75),
        ("SOCK", "Sock", 3.99, 3, 11.97, 0, 11.97),
    ]
    until = await value(db, "select private.now()") + held
    reservations = {r["product_id"]: r for r in order["reservations"]}
    assert {r["quantity"] for r in reservations.values()} == {2, 3}
    assert {dt.datetime.fromisoformat(r["expires_at"]) for r in reservations.values()} == {until}
    assert await stock(db, shop.shirt) == (10, 2)
    history = await rows(
        db, "select event, from_status, to_status, actor, command_id from public.order_history"
    )
    assert history == [("place", None, "placed", shop.company.owner, "o-1")]
    await assert_books_agree(db)


async def test_the_catalogue_changes_and_the_order_does_not(db: Connection, shop: Shop) -> None:
    await place(db, shop.company, [wants(shop.shirt, 1)])
    await db.execute("update public.products set price = 99, name = 'Blouse', sku = 'B' where sku = 'SHIRT'")
    stored = await rows(db, "select sku, name, unit_price, total from public.order_lines")
    assert stored == [("SHIRT", "Shirt", Decimal("12.5000"), Decimal("12.5000"))]
    assert (await place(db, shop.company, [wants(shop.shirt, 1)]))["total"] == 99


@pytest.mark.parametrize(
    ("currency", "price", "quantity", "rate", "net", "tax"),
    [
        ("USD", "0.10", 1, 0.05, "0.10", "0.01"),  # 0.005
        ("USD", "0.30", 1, 0.05, "0.30", "0.02"),  # 0.015, which half even would round to 0.02 too
        ("USD", "0.50", 1, 0.05, "0.50", "0.03"),  # 0.025, which half even would round to 0.02
        ("USD", "0.49", 1, 0.05, "0.49", "0.02"),  # 0.0245
        ("USD", "0.07", 7, 0.075, "0.49", "0.04"),  # 0.03675
        ("JPY", "5", 1, 0.1, "5", "1"),  # 0.5
        ("JPY", "25", 1, 0.1, "25", "3"),  # 2.5
        ("JPY", "24", 1, 0.1, "24", "2"),  # 2.4
        ("KWD", "0.010", 1, 0.05, "0.010", "0.001"),  # 0.0005
        ("KWD", "1.234", 3, 0.05, "3.702", "0.185"),  # 0.1851
        ("KWD", "0.050", 1, 0.05, "0.050", "0.003"),  # 0.0025
    ],
)
async def test_tax_is_rounded_half_up_to_the_minor_unit(
    db: Connection,
    company: Company,
    currency: str,
    price: str,
    quantity: int,
    rate: float,
    net: str,
    tax: str,
) -> None:
    product = await add_priced(db, company, "P", price, currency)
    await receive(db, company, [stock_line(product, await add_location(db, company), 20)])
    order = await place(db, company, [wants(product, quantity, tax_rate=rate)])
    assert order["currency"] == currency
    [totals] = await rows(db, "select net_total, tax_total, total from public.orders")
    assert totals == (Decimal(net), Decimal(tax), Decimal(net) + Decimal(tax))


async def test_rounding_is_per_line_and_totals_are_sums(db: Connection, company: Company) -> None:
    product = await add_priced(db, company, "P", "0.10")
    await receive(db, company, [stock_line(product, await add_location(db, company), 9)])
    order = await place(db, company, [wants(product, 1, tax_rate=0.05) for _ in range(3)])
    assert order["tax_total"] == 0.03, "0.005 three times, each rounded up; not 0.015"


async def test_two_lines_of_one_product_share_what_is_there(db: Connection, shop: Shop) -> None:
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await place(db, shop.company, [wants(shop.shirt, 6), wants(shop.shirt, 5)])
    order = await place(db, shop.company, [wants(shop.shirt, 6), wants(shop.shirt, 4)])
    assert order["quantity"] == 10
    assert await stock(db, shop.shirt) == (10, 10)


async def test_a_line_may_name_its_location(db: Connection, shop: Shop) -> None:
    far = await add_location(db, shop.company, "FAR")
    await receive(db, shop.company, [stock_line(shop.shirt, far, 3)])
    order = await place(db, shop.company, [wants(shop.shirt, 3, location_id=str(far))])
    assert [r["location_id"] for r in order["reservations"]] == [str(far)]
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await place(db, shop.company, [wants(shop.shirt, 1, location_id=str(far))])


# -- what is refused -----------------------------------------------------------------------------------------


async def test_lines_are_checked_together(db: Connection, shop: Shop) -> None:
    good = wants(shop.shirt, 1)
    for bad in (
        *(wants(shop.shirt, quantity) for quantity in (0, -1, 1.5, "1", None, 1_000_001, 1e30)),
        *(wants(shop.shirt, 1, tax_rate=rate) for rate in (-0.1, 1.1, "0.1", 0.1234567)),
        {"quantity": 1},
        {"product_id": 7, "quantity": 1},
        7,
    ):
        with pytest.raises(psycopg.Error, match=r"order\.lines_invalid") as refused:
            await command(db, shop.company, "place_order", lines=Jsonb([good, bad, good, bad]))
        assert refused.value.sqlstate == "PT400"
        assert (refused.value.diag.message_detail or "").startswith("Lines 2, 4: ")
    shapes: list[Any] = [[], {}, None, "lines", [good] * 501]
    for lines in shapes:
        with pytest.raises(psycopg.Error, match=r"order\.lines_invalid"):
            await command(db, shop.company, "place_order", lines=Jsonb(lines))


async def test_only_active_products_of_the_tenant_are_sold(db: Connection, shop: Shop) -> None:
    rival = await found_company(db, "rival")
    theirs = await add_priced(db, rival, "THEIRS", "1")
    draft = await add_priced(db, shop.company, "DRAFT", "1", status="draft")
    gone = await add_priced(db, shop.company, "GONE", "1")
    await db.execute("update public.products set deleted_at = now() where id = %s", (gone,))
    for product in (theirs, draft, gone, uuid.uuid4()):
        with pytest.raises(psycopg.Error, match=r"order\.product_unavailable") as refused:
            await place(db, shop.company, [wants(shop.shirt, 1), wants(product, 1)])
        assert refused.value.sqlstate == "PT422"
        assert refused.value.diag.message_detail == "Lines 2 name no active product of this tenant."
    assert await value(db, "select count(*) from public.orders") == 0


async def test_one_order_has_one_currency(db: Connection, shop: Shop) -> None:
    euro = await add_priced(db, shop.company, "EURO", "1", "EUR")
    with pytest.raises(psycopg.Error, match=r"order\.currency_mixed") as refused:
        await place(db, shop.company, [wants(shop.shirt, 1), wants(euro, 1)])
    assert (refused.value.sqlstate, refused.value.diag.message_detail) == (
        "PT422",
        "The products have prices in EUR, USD.",
    )


async def test_a_total_that_no_column_holds(db: Connection, shop: Shop) -> None:
    dear = await add_priced(db, shop.company, "DEAR", "99999999999999")
    await receive(db, shop.company, [stock_line(dear, shop.location, 2)])
    with pytest.raises(psycopg.Error, match=r"order\.total_too_large") as refused:
        await place(db, shop.company, [wants(dear, 2)])
    assert refused.value.sqlstate == "PT422"
    assert await stock(db, dear) == (2, 0)


async def test_customers_and_holds_have_limits(db: Connection, shop: Shop) -> None:
    one = [wants(shop.shirt, 1)]
    bad: list[Any] = [Jsonb([]), {"email": "no address"}, {"name": "x" * 9000}]
    for customer in bad:
        with pytest.raises(psycopg.errors.CheckViolation, match="orders_customer"):
            await place(db, shop.company, one, customer=customer)
    for hold in (dt.timedelta(0), dt.timedelta(days=400), None):
        with pytest.raises(psycopg.Error, match=r"reservation\.expiry_invalid"):
            await place(db, shop.company, one, reserve_for=hold)
    assert await stock(db, shop.shirt) == (10, 0)


# -- numbers and keys ----------------------------------------------------------------------------------------


async def test_numbers_are_gapless_among_concurrent_orders(
    database: Database, db: Connection, company: Company
) -> None:
    """Half of the attempts fail, for they ask for more than there is."""
    shop = await open_shop(db, company)
    await receive(db, company, [stock_line(shop.sock, shop.location, 90)])
    sessions = [await database.connect() for _ in range(10)]

    async def work(session: Connection) -> list[str]:
        numbers = []
        for _ in range(5):
            numbers.append((await place(session, company, [wants(shop.sock, 1)]))["number"])
            with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
                await place(session, company, [wants(shop.sock, 1), wants(shop.shirt, 11)])
        return numbers

    numbers = [number for made in await asyncio.gather(*map(work, sessions)) for number in made]
    assert sorted(numbers) == [f"A-{n:06}" for n in range(1, 51)]
    assert await stock(db, shop.sock) == (100, 50)
    await assert_books_agree(db)


async def test_each_tenant_counts_for_itself_beyond_six_digits(db: Connection, shop: Shop) -> None:
    rival = await open_shop(db, await found_company(db, "rival"))
    await db.execute(
        "insert into private.order_counters (tenant_id, last) values (%s, 999998)",
        (rival.company.tenant_id,),
    )
    placed = [
        (await place(db, where.company, [wants(where.sock, 1)]))["number"] for where in (rival, shop, rival)
    ]
    assert placed == ["A-999999", "A-000001", "A-1000000"]


async def test_twins_with_one_key_place_one_order(database: Database, db: Connection, shop: Shop) -> None:
    sessions = [await database.connect() for _ in range(20)]
    lines = [wants(shop.shirt, 2)]
    answers = await asyncio.gather(
        *(place(session, shop.company, lines, key="once", customer=CUSTOMER) for session in sessions)
    )
    assert all(answer == answers[0] for answer in answers)
    assert await column(db, "select number from public.orders") == ["A-000001"]
    assert await stock(db, shop.shirt) == (10, 2)
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused"):
        await place(db, shop.company, [wants(shop.shirt, 3)], key="once", customer=CUSTOMER)
