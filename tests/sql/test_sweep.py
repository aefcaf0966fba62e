"""The sweep ends what is over, the oldest first, and leaves alone what somebody works on."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.databases import Connection
from tests.sql.ask import column, open_transaction, rpc
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company
from tests.sql.inventory import Shelf, add_shelf, assert_books_agree, level, reserve, settle

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
async def shelf(db: Connection, company: Company) -> Shelf:
    """Ten of one product; time stands still from here on."""
    await stop_clock(db)
    return await add_shelf(db, company, 10)


async def test_what_is_over_is_swept_and_nothing_else(db: Connection, company: Company, shelf: Shelf) -> None:
    [over] = await reserve(db, company, [shelf.line(1)], expires_in=MINUTE)
    [lasting] = await reserve(db, company, [shelf.line(2)], expires_in=2 * MINUTE)
    [committed] = await reserve(db, company, [shelf.line(3)], expires_in=MINUTE)
    await settle(db, company, "commit", [committed])
    assert await rpc(db, "sweep_reservations") == {"expired": 0, "more": False}
    await move_clock(db, MINUTE)
    assert await rpc(db, "sweep_reservations") == {"expired": 1, "more": False}
    assert await rpc(db, "sweep_reservations") == {"expired": 0, "more": False}
    assert await level(db, shelf) == (10, 5)
    expired = await column(db, "select id::text from public.reservations where status = 'expired'")
    assert expired == [over["reservation_id"]]
    assert lasting["status"] == "held"
    await assert_books_agree(db)


async def test_a_storm_is_swept_in_slices_the_oldest_first(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    for minutes in (3, 1, 2):
        await reserve(db, company, [shelf.line(minutes)], expires_in=minutes * MINUTE)
    await move_clock(db, 5 * MINUTE)
    left = "select quantity from public.reservations where status = 'held' order by quantity"
    assert await rpc(db, "sweep_reservations", p_limit=1) == {"expired": 1, "more": True}
    assert await column(db, left) == [2, 3]
    assert await rpc(db, "sweep_reservations", p_limit=5) == {"expired": 2, "more": False}
    assert await level(db, shelf) == (10, 0)


async def test_levels_in_use_are_left_to_their_user(
    db: Connection, other: Connection, company: Company, shelf: Shelf
) -> None:
    second = await add_shelf(db, company, 10, sku="SECOND")
    await reserve(db, company, [shelf.line(1), second.line(1)], expires_in=MINUTE)
    await move_clock(db, MINUTE)
    async with open_transaction(other):
        await other.execute(
            "select 1 from public.stock_levels where product_id = %s for update", (shelf.product,)
        )
        assert await rpc(db, "sweep_reservations") == {"expired": 1, "more": False}
    assert (await level(db, shelf), await level(db, second)) == ((10, 1), (10, 0))
    assert await rpc(db, "sweep_reservations") == {"expired": 1, "more": False}
    await assert_books_agree(db)
