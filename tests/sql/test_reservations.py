"""A reservation promises what is there, once, until it is shipped, given back or over."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_location, add_member, found_company, receive
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

MINUTE = dt.timedelta(minutes=1)
LEDGER = """
select kind, quantity, reserved_quantity, on_hand_after, reserved_after
from public.stock_movements order by id
"""


@pytest.fixture
async def shelf(db: Connection, company: Company) -> Shelf:
    """Ten of one product."""
    return await add_shelf(db, company, 10)


# -- the life of a reservation -------------------------------------------------------------------------------


async def test_reserved_committed_shipped(db: Connection, company: Company, shelf: Shelf) -> None:
    await stop_clock(db)
    [held] = await reserve(db, company, [shelf.line(4)])
    now = await value(db, "select private.now()")
    assert held == {
        "reservation_id": held["reservation_id"],
        "product_id": str(shelf.product),
        "location_id": str(shelf.location),
        "order_id": None,
        "quantity": 4,
        "shipped": 0,
        "status": "held",
        "expires_at": held["expires_at"],
        "version": 1,
    }
    assert dt.datetime.fromisoformat(held["expires_at"]) == now + 15 * MINUTE
    assert await level(db, shelf) == (10, 4)
    [committed] = await settle(db, company, "commit", [held])
    assert (committed["status"], committed["expires_at"]) == ("committed", None)
    [shipped] = await settle(db, company, "ship", [held])
    assert (shipped["status"], shipped["shipped"]) == ("shipped", 4)
    assert await level(db, shelf) == (6, 0)
    assert await rows(db, LEDGER) == [
        ("receive", 10, 0, 10, 0),
        ("reserve", 0, 4, 10, 4),
        ("ship", -4, -4, 6, 0),
    ]
    await assert_books_agree(db)


async def test_shipped_in_parts_and_the_rest_given_back(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    [held] = await reserve(db, company, [shelf.line(5)])
    await settle(db, company, "commit", [held])
    part = [{"reservation_id": held["reservation_id"], "quantity": 2}]
    answer = await command(db, company, "ship_reservation", lines=part)
    assert [(r["status"], r["shipped"]) for r in answer["reservations"]] == [("committed", 2)]
    assert await level(db, shelf) == (8, 3)
    [released] = await settle(db, company, "release", [held])
    assert (released["status"], released["shipped"]) == ("released", 2)
    assert await level(db, shelf) == (8, 0)
    await assert_books_agree(db)


async def test_a_hold_that_is_over_goes_to_the_next_buyer(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    await stop_clock(db)
    [held] = await reserve(db, company, [shelf.line(10)], expires_in=MINUTE)
    await move_clock(db, MINUTE - dt.timedelta(seconds=1))
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await reserve(db, company, [shelf.line(1)])
    await move_clock(db, dt.timedelta(seconds=1))
    await reserve(db, company, [shelf.line(7)])
    assert await level(db, shelf) == (10, 7)
    status = await value(db, "select status from public.reservations where id = %s", held["reservation_id"])
    assert status == "expired"
    assert [kind for kind, *_ in await rows(db, LEDGER)] == ["receive", "reserve", "expire", "reserve"]
    await assert_books_agree(db)


async def test_an_extended_hold_lasts(db: Connection, company: Company, shelf: Shelf) -> None:
    await stop_clock(db)
    held = await reserve(db, company, [shelf.line(1)], expires_in=MINUTE)
    await settle(db, company, "extend", held, expires_in=10 * MINUTE)
    await move_clock(db, 9 * MINUTE)
    [committed] = await settle(db, company, "commit", held)
    assert committed["status"] == "committed"


@pytest.mark.parametrize("name", ["commit", "extend", "ship"])
async def test_an_expired_hold_is_expired_though_nobody_swept(
    db: Connection, company: Company, shelf: Shelf, name: str
) -> None:
    await stop_clock(db)
    held = await reserve(db, company, [shelf.line(1)], expires_in=MINUTE)
    await move_clock(db, MINUTE)
    with pytest.raises(psycopg.Error, match=r"reservation\.expired") as refused:
        await settle(db, company, name, held)
    assert refused.value.sqlstate == "PT409"


async def test_released_twice_is_released_once(db: Connection, company: Company, shelf: Shelf) -> None:
    held = await reserve(db, company, [shelf.line(4)])
    await settle(db, company, "release", held)
    assert await settle(db, company, "release", held) == await settle(db, company, "release", [*held, *held])
    assert await level(db, shelf) == (10, 0)
    await assert_books_agree(db)


@pytest.mark.parametrize(
    ("before", "name"),
    [((), "ship"), (("commit",), "extend"), (("release",), "commit"), (("commit", "ship"), "release")],
)
async def test_the_wrong_state_is_named(
    db: Connection, company: Company, shelf: Shelf, before: tuple[str, ...], name: str
) -> None:
    held = await reserve(db, company, [shelf.line(2)])
    for step in before:
        await settle(db, company, step, held)
    with pytest.raises(psycopg.Error, match=r"reservation\.wrong_status") as refused:
        await settle(db, company, name, held)
    assert refused.value.sqlstate == "PT409"


@pytest.mark.parametrize("quantity", [0, -1, 3])
async def test_no_more_is_shipped_than_is_left(
    db: Connection, company: Company, shelf: Shelf, quantity: int
) -> None:
    held = await reserve(db, company, [shelf.line(2)])
    await settle(db, company, "commit", held)
    lines = [{"reservation_id": held[0]["reservation_id"], "quantity": quantity}]
    with pytest.raises(psycopg.Error, match=r"reservation\.too_much"):
        await command(db, company, "ship_reservation", lines=lines)


# -- what can be promised ------------------------------------------------------------------------------------


async def test_safety_is_kept_back_and_backorders_have_a_limit(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    await set_limits(db, shelf, safety=3)
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        await reserve(db, company, [shelf.line(8)])
    assert "available 7" in (refused.value.diag.message_detail or "")
    await set_limits(db, shelf, safety=0, backorder_limit=5)
    held = await reserve(db, company, [shelf.line(15)])
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await reserve(db, company, [shelf.line(1)])
    await settle(db, company, "commit", held)
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        await settle(db, company, "ship", held)
    assert refused.value.diag.message_detail == (
        f"Product {shelf.product} at location {shelf.location} has 10 on hand, 10 of them promised;"
        " 15 cannot be taken."
    )
    await receive(db, company, [shelf.line(5)])
    await settle(db, company, "ship", held)
    assert await level(db, shelf) == (0, 0)


async def test_lines_that_share_an_item_are_summed(db: Connection, company: Company, shelf: Shelf) -> None:
    """Two bundles with the same battery in them: six and six of ten."""
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await reserve(db, company, [shelf.line(6), shelf.line(6)])
    [made] = await reserve(db, company, [shelf.line(4), shelf.line(6)])
    assert made["quantity"] == 10


async def test_all_lines_or_none(db: Connection, company: Company, shelf: Shelf) -> None:
    scarce = await add_shelf(db, company, 1, sku="SCARCE")
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        await reserve(db, company, [shelf.line(2), scarce.line(2)])
    assert str(scarce.product) in (refused.value.diag.message_detail or "")
    assert str(shelf.product) not in (refused.value.diag.message_detail or "")
    assert await level(db, shelf) == (10, 0)
    assert await rows(db, "select 1 from public.reservations") == []


async def test_without_a_place_the_fullest_is_taken_first(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    second = Shelf(company, shelf.product, await add_location(db, company, "SECOND"))
    third = Shelf(company, shelf.product, await add_location(db, company, "THIRD"))
    await receive(db, company, [second.line(20), third.line(5)])
    [made] = await reserve(db, company, [shelf.line(15, anywhere=True)])
    assert (made["location_id"], made["quantity"]) == (str(second.location), 15)
    split = await reserve(db, company, [shelf.line(12, anywhere=True), third.line(4)])
    assert {r["location_id"]: r["quantity"] for r in split} == {
        str(shelf.location): 10,
        str(second.location): 2,
        str(third.location): 4,
    }
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await reserve(db, company, [shelf.line(5, anywhere=True)])
    await reserve(db, company, [shelf.line(4, anywhere=True)])
    await assert_books_agree(db)


async def test_a_line_anywhere_takes_nothing_from_a_line_with_a_place(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        await reserve(db, company, [shelf.line(6), shelf.line(6, anywhere=True)])
    assert "6 of product" in (refused.value.diag.message_detail or "")


# -- what is refused -----------------------------------------------------------------------------------------


async def test_what_is_not_of_this_tenant_is_not_found(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    rival = await found_company(db, "rival")
    theirs = await add_shelf(db, rival, 5, sku="THEIRS")
    unknown = Shelf(company, uuid.uuid4(), shelf.location)
    for line in (theirs.line(1), unknown.line(1), theirs.line(1, anywhere=True)):
        with pytest.raises(psycopg.Error, match=r"stock\.not_found") as refused:
            await reserve(db, company, [shelf.line(1), line])
        assert refused.value.sqlstate == "PT404"
    their_hold = await reserve(db, rival, [theirs.line(1)])
    for name in ("extend", "release", "commit", "ship"):
        with pytest.raises(psycopg.Error, match=r"reservation\.not_found"):
            await settle(db, company, name, their_hold)


async def test_strangers_and_viewers_reserve_nothing(db: Connection, company: Company, shelf: Shelf) -> None:
    held = await reserve(db, company, [shelf.line(1)])
    stranger = (await found_company(db, "rival")).owner
    viewer = await add_member(db, company, "viewer")
    for who, error in ((stranger, r"tenant\.not_found"), (viewer, r"access\.denied")):
        with pytest.raises(psycopg.Error, match=error):
            await reserve(db, company, [shelf.line(1)], who=who)
        for name in ("extend", "release", "commit", "ship"):
            with pytest.raises(psycopg.Error, match=error):
                await settle(db, company, name, held, who=who)
    clerk = await add_member(db, company, "clerk")
    assert len(await reserve(db, company, [shelf.line(1)], who=clerk)) == 1


async def test_reservations_change_by_commands_only(db: Connection, company: Company, shelf: Shelf) -> None:
    await reserve(db, company, [shelf.line(1)])
    for change in (b"update public.reservations set quantity = 9", b"delete from public.reservations"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner):
                await db.execute(change)
    async with acting_as(db, (await found_company(db, "rival")).owner):
        assert await rows(db, "select id from public.reservations") == []


async def test_bad_input_is_refused_by_name(db: Connection, company: Company, shelf: Shelf) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"lines": []}, r"stock\.lines_invalid"),
        ({"lines": [shelf.line(0)]}, r"stock\.quantity_invalid"),
        ({"lines": [shelf.line(1.5)]}, r"stock\.quantity_invalid"),
        ({"lines": [shelf.line(1)], "expires_in": dt.timedelta(0)}, r"reservation\.expiry_invalid"),
        ({"lines": [shelf.line(1)], "expires_in": dt.timedelta(days=91)}, r"reservation\.expiry_invalid"),
    ]
    for arguments, error in bad:
        with pytest.raises(psycopg.Error, match=error) as refused:
            await reserve(db, company, **arguments)
        assert refused.value.sqlstate == "PT400"
    for name in ("extend", "release", "commit", "ship"):
        with pytest.raises(psycopg.Error, match=r"reservation\.ids_invalid"):
            await settle(db, company, name, [])


# -- events --------------------------------------------------------------------------------------------------


async def test_each_step_is_an_event(db: Connection, company: Company, shelf: Shelf) -> None:
    await stop_clock(db)
    first, second, third = [
        (await reserve(db, company, [shelf.line(1)], expires_in=MINUTE))[0] for _ in range(3)
    ]
    await settle(db, company, "commit", [first])
    await settle(db, company, "ship", [first])
    await settle(db, company, "extend", [second], expires_in=5 * MINUTE)
    await settle(db, company, "release", [second])
    await move_clock(db, MINUTE)
    await db.execute("select worker.sweep_reservations()")
    await db.execute("select worker.dispatch_outbox(1000)")
    types = "select type from public.events where entity = 'reservation' and entity_id = %s order by seq"
    steps = {
        first["reservation_id"]: ["created", "committed", "shipped"],
        second["reservation_id"]: ["created", "updated", "released"],
        third["reservation_id"]: ["created", "expired"],
    }
    for reservation, verbs in steps.items():
        assert await column(db, types, reservation) == [f"reservation.{verb}" for verb in verbs]
