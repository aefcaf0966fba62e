"""What events do to stock, piece by piece: shipments, cancelled rests, returns, refunds, late payments."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.company import Company, add_location, adjust, found_company, receive, stock_line
from tests.sql.inventory import assert_books_agree, settle
from tests.sql.ordering import Shop, happen, let_holds_expire, open_shop, part, place, stock, wants

LINES = "select fulfilled, cancelled, returned from public.order_lines order by position"


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    return await open_shop(db, company)


async def test_an_order_leaves_in_several_shipments(db: Connection, shop: Shop) -> None:
    company = shop.company
    order = await place(db, company, [wants(shop.shirt, 4), wants(shop.sock, 2), wants(shop.shirt, 1)])
    order = await happen(db, company, order, "pay")
    order = await happen(db, company, order, "fulfil", lines=part(order, 3))
    assert (order["status"], order["fulfilled"], await stock(db, shop.shirt)) == (
        "partially_fulfilled", 3, (7, 2),
    )  # fmt: skip
    both = [*part(order, 1, line=1), *part(order, 1, line=2), *part(order, 1, line=1)]
    order = await happen(db, company, order, "fulfil", lines=both)
    assert await rows(db, LINES) == [(3, 0, 0), (2, 0, 0), (1, 0, 0)]
    order = await happen(db, company, order, "fulfil")
    assert (order["status"], await stock(db, shop.shirt), await stock(db, shop.sock)) == (
        "fulfilled", (5, 0), (8, 0),
    )  # fmt: skip
    assert {r["status"] for r in order["reservations"]} == {"shipped"}
    assert (await happen(db, company, order, "ship", tracking="T-1"))["status"] == "shipped"
    told = await column(db, "select payload ->> 'tracking' from public.order_history order by id desc")
    assert told[0] == "T-1"
    await assert_books_agree(db)


async def test_no_more_leaves_than_was_ordered(db: Connection, shop: Shop) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 4)])
    order = await happen(db, shop.company, order, "pay")
    order = await happen(db, shop.company, order, "fulfil", lines=part(order, 3))
    line = order["lines"][0]["id"]
    for lines in (part(order, 2), part(order, 1) * 2):
        with pytest.raises(psycopg.Error, match=r"order\.quantity_exceeded") as refused:
            await happen(db, shop.company, order, "fulfil", lines=lines)
        assert refused.value.sqlstate == "PT422"
        assert refused.value.diag.message_detail == f"Line {line} has 1 left."
    bad: list[Any] = [
        [],
        {},
        None,
        [1],
        [{"line_id": line}],
        part(order, 0),
        part(order, -1),
        [{"quantity": 1}],
    ]
    for lines in bad:
        with pytest.raises(psycopg.Error, match=r"order\.lines_invalid"):
            await happen(db, shop.company, order, "fulfil", lines=lines)
    assert await stock(db, shop.shirt) == (7, 1)


async def test_lines_of_other_orders_are_not_this_ones(db: Connection, shop: Shop) -> None:
    rival = await open_shop(db, await found_company(db, "rival"))
    foreign = await place(db, rival.company, [wants(rival.shirt, 1)])
    other = await place(db, shop.company, [wants(shop.shirt, 1)])
    order = await happen(db, shop.company, await place(db, shop.company, [wants(shop.shirt, 1)]), "pay")
    for lines in (part(foreign, 1), part(other, 1), [{"line_id": str(uuid.uuid4()), "quantity": 1}]):
        with pytest.raises(psycopg.Error, match=r"order\.quantity_exceeded"):
            await happen(db, shop.company, order, "fulfil", lines=lines)
    assert await stock(db, shop.shirt) == (10, 2)


async def test_the_rest_is_cancelled_after_a_shipment(db: Connection, shop: Shop) -> None:
    company = shop.company
    order = await happen(
        db, company, await place(db, company, [wants(shop.shirt, 4), wants(shop.sock, 2)]), "pay"
    )
    order = await happen(db, company, order, "fulfil", lines=part(order, 1))
    order = await happen(db, company, order, "cancel")
    assert (order["status"], order["fulfilled"], order["cancelled"]) == ("fulfilled", 1, 5)
    assert await rows(db, LINES) == [(1, 3, 0), (0, 2, 0)]
    assert (await stock(db, shop.shirt), await stock(db, shop.sock)) == ((9, 0), (10, 0))
    order = await happen(db, company, order, "return")
    assert (order["status"], await stock(db, shop.shirt)) == ("returned", (10, 0))
    await assert_books_agree(db)


async def test_a_rest_cancelled_after_all_came_back_leaves_a_returned_order(
    db: Connection, shop: Shop
) -> None:
    order = await happen(db, shop.company, await place(db, shop.company, [wants(shop.shirt, 4)]), "pay")
    order = await happen(db, shop.company, order, "fulfil", lines=part(order, 1))
    order = await happen(db, shop.company, order, "return")
    with pytest.raises(psycopg.Error, match=r"order\.quantity_exceeded"):
        await happen(db, shop.company, order, "return")
    assert (await happen(db, shop.company, order, "cancel"))["status"] == "returned"
    assert await stock(db, shop.shirt) == (10, 0)


# -- returns and refunds -------------------------------------------------------------------------------------


async def test_pieces_come_back_where_they_left_or_where_one_says(db: Connection, shop: Shop) -> None:
    company = shop.company
    depot = await add_location(db, company, "DEPOT")
    order = await place(db, company, [wants(shop.shirt, 5)])
    for event in ("pay", "ship"):
        order = await happen(db, company, order, event)
    order = await happen(db, company, order, "return", lines=part(order, 1))
    order = await happen(db, company, order, "return", lines=part(order, 2, location_id=str(depot)))
    order = await happen(db, company, order, "return", lines=part(order, 1, restock=False))
    assert (order["status"], order["returned"]) == ("shipped", 4)
    places = await rows(
        db, "select location_id, on_hand from public.stock_levels where product_id = %s", shop.shirt
    )
    assert sorted(places) == sorted([(shop.location, 6), (depot, 2)])
    with pytest.raises(psycopg.Error, match=r"order\.quantity_exceeded"):
        await happen(db, company, order, "return", lines=part(order, 2))
    with pytest.raises(psycopg.Error, match=r"stock\.not_found"):
        await happen(db, company, order, "return", lines=part(order, 1, location_id=str(uuid.uuid4())))
    assert (await happen(db, company, order, "return"))["status"] == "returned"
    reasons = await column(db, "select distinct reason from public.stock_movements where kind = 'return'")
    assert reasons == ["order A-000001"]
    await assert_books_agree(db)


async def test_no_more_money_goes_back_than_came(db: Connection, shop: Shop) -> None:
    company = shop.company
    order = await happen(db, company, await place(db, company, [wants(shop.shirt, 2)]), "pay", amount=25.0)
    for amount in (25.01, 0, -1, 0.005, "5", None):
        with pytest.raises(psycopg.Error, match=r"order\.amount_invalid") as refused:
            await happen(db, company, order, "refund", amount=amount)
        assert refused.value.sqlstate == "PT422"
        assert refused.value.diag.message_detail == "payload.amount must be above 0 and at most 25.00 USD."
    order = await happen(db, company, order, "refund", amount=20)
    assert (order["status"], order["refunded_total"]) == ("paid", 20)
    with pytest.raises(psycopg.Error, match=r"order\.amount_invalid"):
        await happen(db, company, order, "refund", amount=5.01)
    order = await happen(db, company, order, "refund", amount=5)
    assert (order["status"], order["cancelled"], await stock(db, shop.shirt)) == ("refunded", 2, (10, 0))


async def test_who_never_paid_gets_nothing_back(db: Connection, shop: Shop) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 2)])
    order = await happen(db, shop.company, order, "cancel")
    with pytest.raises(psycopg.Error, match=r"order\.amount_invalid"):
        await happen(db, shop.company, order, "refund")


async def test_a_payment_is_the_total(db: Connection, shop: Shop) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 2)])
    for amount in (24.99, 25.01, "25", None):
        with pytest.raises(psycopg.Error, match=r"order\.amount_invalid"):
            await happen(db, shop.company, order, "pay", amount=amount)
    order = await happen(db, shop.company, order, "pay", amount=25)
    assert (order["paid_total"], order["paid_at"] is not None) == (25, True)


# -- too late, or given away ---------------------------------------------------------------------------------


async def test_a_late_payment_reserves_again(db: Connection, shop: Shop) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 10)])
    await let_holds_expire(db, order)
    order = await happen(db, shop.company, order, "pay")
    assert (order["status"], order["review_reason"]) == ("paid", None)
    assert await stock(db, shop.shirt) == (10, 10)
    assert sorted(r["status"] for r in order["reservations"]) == ["committed", "expired"]
    await assert_books_agree(db)


async def test_a_late_payment_without_stock_waits_for_review(db: Connection, shop: Shop) -> None:
    company = shop.company
    late = await place(db, company, [wants(shop.shirt, 6), wants(shop.sock, 1)])
    await let_holds_expire(db, late)
    quick = await happen(db, company, await place(db, company, [wants(shop.shirt, 7)]), "pay")
    late = await happen(db, company, late, "pay")
    assert (late["status"], late["paid_total"]) == ("needs_review", late["total"])
    assert late["review_reason"].startswith("Wanted: 6 of product ")
    await rpc(db, "sweep_reservations")
    assert (await stock(db, shop.shirt), await stock(db, shop.sock)) == ((10, 7), (10, 0)), "all or nothing"

    with pytest.raises(psycopg.Error, match=r"order\.guard_failed") as refused:
        await happen(db, company, late, "allocate")
    assert refused.value.sqlstate == "PT409"
    assert "allocate needs stock_secured. Wanted: 6" in (refused.value.diag.message_detail or "")
    await happen(db, company, quick, "cancel")
    late = await happen(db, company, late, "allocate")
    assert (late["status"], late["review_reason"]) == ("paid", None)
    assert (await stock(db, shop.shirt), await stock(db, shop.sock)) == ((10, 6), (10, 1))
    await assert_books_agree(db)


async def test_what_still_holds_is_kept_while_the_rest_is_reviewed(db: Connection, shop: Shop) -> None:
    company = shop.company
    order = await place(db, company, [wants(shop.shirt, 6), wants(shop.sock, 2)])
    shirts = [r for r in order["reservations"] if r["product_id"] == str(shop.shirt)]
    await settle(db, company, "release", shirts)
    await adjust(db, company, [stock_line(shop.shirt, shop.location, -9)])
    order = await happen(db, company, order, "pay")
    assert order["status"] == "needs_review"
    assert (await stock(db, shop.shirt), await stock(db, shop.sock)) == ((1, 0), (10, 2))
    [kept] = [r for r in order["reservations"] if r["product_id"] == str(shop.sock)]
    assert kept["status"] == "committed"
    order = await happen(db, company, order, "refund")
    assert (order["status"], await stock(db, shop.sock)) == ("refunded", (10, 0))


async def test_stock_that_was_given_away_is_replaced_or_missed(db: Connection, shop: Shop) -> None:
    company = shop.company
    order = await happen(db, company, await place(db, company, [wants(shop.shirt, 6)]), "pay")
    await settle(db, company, "release", order["reservations"])
    await adjust(db, company, [stock_line(shop.shirt, shop.location, -9)])
    with pytest.raises(psycopg.Error, match=r"order\.stock_missing") as refused:
        await happen(db, company, order, "ship")
    assert refused.value.sqlstate == "PT409"
    await receive(db, company, [stock_line(shop.shirt, shop.location, 7)])
    assert (await happen(db, company, order, "ship"))["status"] == "shipped"
    assert await stock(db, shop.shirt) == (2, 0)
    await assert_books_agree(db)


async def test_a_cancelled_order_whose_holds_expired_gives_back_nothing_twice(
    db: Connection, shop: Shop
) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 6)])
    await let_holds_expire(db, order)
    assert (await happen(db, shop.company, order, "cancel"))["status"] == "cancelled"
    assert await stock(db, shop.shirt) == (10, 0)
    assert await value(db, "select count(*) from public.stock_movements where reserved_quantity < 0") == 1
    await assert_books_agree(db)
