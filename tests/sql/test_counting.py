"""Counts stay right while sales go on, transfers lose nothing, and the history pages through it all."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import rows, value
from tests.sql.company import Company, add_location, add_member, adjust, found_company, receive
from tests.sql.inventory import (
    Shelf,
    add_shelf,
    assert_books_agree,
    command,
    level,
    reserve,
    set_limits,
    settle,
)


@pytest.fixture
async def shelf(db: Connection, company: Company) -> Shelf:
    """Ten of one product."""
    return await add_shelf(db, company, 10)


async def count(db: Connection, shelf: Shelf, counted: object, **line: object) -> dict[str, Any]:
    """`count_stock` of one level: its line of the answer."""
    asked = {"product_id": str(shelf.product), "location_id": str(shelf.location), "counted": counted, **line}
    answer: dict[str, Any] = (await command(db, shelf.company, "count_stock", lines=[asked]))["levels"][0]
    return answer


async def ship(db: Connection, shelf: Shelf, quantity: int) -> None:
    held = await reserve(db, shelf.company, [shelf.line(quantity)])
    await settle(db, shelf.company, "commit", held)
    await settle(db, shelf.company, "ship", held)


# -- counts --------------------------------------------------------------------------------------------------


async def test_a_count_sets_the_level_and_says_the_difference(db: Connection, shelf: Shelf) -> None:
    counted = await count(db, shelf, 8)
    assert (counted["on_hand"], counted["difference"], counted["shortfall"]) == (8, -2, 0)
    again = await count(db, shelf, 8)
    assert again["difference"] == 0
    kinds = await rows(db, "select kind, quantity from public.stock_movements order by id")
    assert kinds == [("receive", 10), ("count", -2), ("count", 0)]
    assert (await level(db, shelf, "counted_at is not null"))[0]
    await assert_books_agree(db)


async def test_what_moved_while_counting_is_added(db: Connection, company: Company, shelf: Shelf) -> None:
    """Nine of ten are there; while the counter walks, three are shipped and five arrive."""
    (started_at,) = await level(db, shelf, "version")
    await ship(db, shelf, 3)
    await receive(db, company, [shelf.line(5)])
    counted = await count(db, shelf, 9, as_of_version=started_at)
    assert (counted["difference"], counted["on_hand"]) == (-1, 9 - 3 + 5)
    await assert_books_agree(db)


async def test_two_counts_from_one_version_correct_once(db: Connection, shelf: Shelf) -> None:
    (started_at,) = await level(db, shelf, "version")
    await count(db, shelf, 7, as_of_version=started_at)
    await ship(db, shelf, 1)
    second = await count(db, shelf, 7, as_of_version=started_at)
    assert (second["difference"], second["on_hand"]) == (0, 6)


async def test_a_count_may_find_less_than_is_promised(db: Connection, company: Company, shelf: Shelf) -> None:
    held = await reserve(db, company, [shelf.line(8)])
    counted = await count(db, shelf, 5)
    assert (counted["on_hand"], counted["reserved"], counted["shortfall"]) == (5, 8, 3)
    await set_limits(db, shelf, backorder_limit=1)
    assert await level(db, shelf, "shortfall") == (2,), "the limit takes over a part of it"
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await reserve(db, company, [shelf.line(1)])
    await receive(db, company, [shelf.line(1)])
    assert await level(db, shelf, "on_hand, shortfall") == (6, 1), "a receipt pays back"
    await settle(db, company, "release", held)
    assert await level(db, shelf, "reserved, shortfall") == (0, 0), "so does a release"
    await reserve(db, company, [shelf.line(7)])
    await assert_books_agree(db)


async def test_a_shortfall_can_be_shipped_from_what_is_there(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    first = await reserve(db, company, [shelf.line(4)])
    second = await reserve(db, company, [shelf.line(4)])
    await settle(db, company, "commit", [*first, *second])
    await count(db, shelf, 5)
    await settle(db, company, "ship", first)
    assert await level(db, shelf, "on_hand, reserved, shortfall") == (1, 4, 3)
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await settle(db, company, "ship", second)


async def test_an_adjustment_falls_short_only_when_asked(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    await reserve(db, company, [shelf.line(8)])
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await adjust(db, company, [shelf.line(-4)])
    await command(db, company, "adjust_stock", lines=[shelf.line(-4)], allow_shortfall=True)
    assert await level(db, shelf, "on_hand, reserved, shortfall") == (6, 8, 2)
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await command(db, company, "adjust_stock", lines=[shelf.line(-7)], allow_shortfall=True)


async def test_bad_counts_are_refused(db: Connection, company: Company, shelf: Shelf) -> None:
    for counted in (-1, 1.5, "3", None):
        with pytest.raises(psycopg.Error, match=r"stock\.quantity_invalid"):
            await count(db, shelf, counted)
    for version in (0, 3):
        with pytest.raises(psycopg.Error, match=r"stock\.version_unknown"):
            await count(db, shelf, 1, as_of_version=version)
    line = {"product_id": str(shelf.product), "location_id": str(shelf.location), "counted": 1}
    with pytest.raises(psycopg.Error, match=r"stock\.lines_invalid"):
        await command(db, company, "count_stock", lines=[line, line])


# -- transfers -----------------------------------------------------------------------------------------------


def transfer_line(shelf: Shelf, to: uuid.UUID, quantity: int) -> dict[str, object]:
    places = {"from_location_id": str(shelf.location), "to_location_id": str(to)}
    return {"product_id": str(shelf.product), "quantity": quantity, **places}


async def test_a_transfer_takes_here_and_puts_there(db: Connection, company: Company, shelf: Shelf) -> None:
    there = await add_location(db, company, "THERE")
    await command(db, company, "transfer_stock", lines=[transfer_line(shelf, there, 4)], key="t")
    await command(db, company, "transfer_stock", lines=[transfer_line(shelf, there, 4)], key="t")
    assert await level(db, shelf, "on_hand") == (6,)
    assert await level(db, Shelf(company, shelf.product, there), "on_hand") == (4,)
    await reserve(db, company, [shelf.line(5)])
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await command(db, company, "transfer_stock", lines=[transfer_line(shelf, there, 2)])
    with pytest.raises(psycopg.Error, match=r"stock\.lines_invalid"):
        await command(db, company, "transfer_stock", lines=[transfer_line(shelf, shelf.location, 1)])
    await assert_books_agree(db)


async def test_strangers_and_viewers_count_and_transfer_nothing(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    there = await add_location(db, company, "THERE")
    counted = {"product_id": str(shelf.product), "location_id": str(shelf.location), "counted": 1}
    calls = [("count_stock", counted), ("transfer_stock", transfer_line(shelf, there, 1))]
    stranger = (await found_company(db, "rival")).owner
    for who, error in (
        (stranger, r"tenant\.not_found"),
        (await add_member(db, company, "viewer"), r"access\.denied"),
    ):
        for name, line in calls:
            with pytest.raises(psycopg.Error, match=error):
                await command(db, company, name, lines=[line], who=who)


# -- history and alerts --------------------------------------------------------------------------------------


async def test_the_history_is_paged_newest_first(db: Connection, company: Company, shelf: Shelf) -> None:
    there = Shelf(company, shelf.product, await add_location(db, company, "THERE"))
    for quantity in range(1, 7):
        await receive(db, company, [(shelf if quantity % 2 else there).line(quantity)])
    query = "select movement_id, quantity from public.stock_history(%s, %s, p_before => %s, p_limit => 3)"
    seen: list[int] = []
    before = None
    async with acting_as(db, company.owner):
        while page := await rows(db, query, company.tenant_id, shelf.product, before):
            seen += [quantity for _, quantity in page]
            before = page[-1][0]
        one = "select array_agg(quantity) from public.stock_history(%s, %s, %s)"
        assert await value(db, one, company.tenant_id, shelf.product, there.location) == [6, 4, 2]
    assert seen == [6, 5, 4, 3, 2, 1, 10]
    async with acting_as(db, (await found_company(db, "rival")).owner):
        assert await rows(db, query, company.tenant_id, shelf.product, None) == []


async def test_low_and_back_ring_once_per_crossing(db: Connection, company: Company, shelf: Shelf) -> None:
    await set_limits(db, shelf, reorder_point=5)
    held = await reserve(db, company, [shelf.line(5)])  # 5 left: low
    more = await reserve(db, company, [shelf.line(1)])  # 4: still low
    await settle(db, company, "release", more)
    await settle(db, company, "release", held)  # 10: armed again
    await adjust(db, company, [shelf.line(-4)])  # 6: not low yet
    await adjust(db, company, [shelf.line(-1)])  # 5: low
    await receive(db, company, [shelf.line(1)])  # 6: within the margin, not armed
    await adjust(db, company, [shelf.line(-1)])  # 5: no second alarm
    await adjust(db, company, [shelf.line(-5)])  # 0: out
    await receive(db, company, [shelf.line(1)])  # 1: back
    await db.execute("select worker.dispatch_outbox(1000)")
    alerts = await rows(
        db,
        "select type, (body::jsonb #>> '{data,object,on_hand}')::int from public.events"
        " where type in ('stock_level.low', 'stock_level.back') order by seq",
    )
    assert alerts == [
        ("stock_level.back", 10),
        ("stock_level.low", 10),
        ("stock_level.low", 5),
        ("stock_level.back", 1),
    ]
