"""Stock moves by commands: all or nothing, once per key, and the ledger tells the whole story."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.company import (
    Company,
    add_location,
    add_member,
    add_product,
    add_products,
    adjust,
    found_company,
    receive,
    stock_line,
)

LEVELS = "select on_hand from public.stock_levels order by product_id, location_id"
LEDGER = "select kind, quantity, on_hand_after, level_version from public.stock_movements order by id"


@pytest.fixture
async def location(db: Connection, company: Company) -> uuid.UUID:
    return await add_location(db, company)


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    return await add_product(db, company)


async def test_moves_answer_with_the_levels_and_leave_a_ledger(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    received = await receive(db, company, [stock_line(product, location, 10)], "r-1", reason="delivery 7")
    level = {"product_id": str(product), "location_id": str(location), "reserved": 0}
    assert received == {"levels": [{**level, "on_hand": 10, "version": 2}]}
    adjusted = await adjust(db, company, [stock_line(product, location, -4)], "a-1")
    assert adjusted == {"levels": [{**level, "on_hand": 6, "version": 3}]}
    assert await rows(db, LEDGER) == [("receive", 10, 10, 2), ("adjust", -4, 6, 3)]
    told = await rows(db, "select actor, command_id, reason from public.stock_movements order by id")
    assert told == [(company.owner, "r-1", "delivery 7"), (company.owner, "a-1", None)]


async def test_lines_of_one_level_are_summed_first(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    lines = [stock_line(product, location, quantity) for quantity in (-3, 5, 2)]
    assert (await adjust(db, company, lines))["levels"][0]["on_hand"] == 4
    assert await rows(db, LEDGER) == [("adjust", 4, 4, 2)]
    assert await adjust(db, company, [stock_line(product, location, q) for q in (1, -1)]) == {"levels": []}


async def test_one_line_that_fails_fails_them_all(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    rich = await add_product(db, company, "RICH")
    await receive(db, company, [stock_line(rich, location, 5), stock_line(product, location, 1)])
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient"):
        await adjust(db, company, [stock_line(rich, location, 5), stock_line(product, location, -2)], "k")
    assert sorted(await column(db, LEVELS)) == [1, 5]
    assert len(await rows(db, LEDGER)) == 2
    # A failure is not remembered: the same key may try again.
    await adjust(db, company, [stock_line(product, location, -1)], "k")


async def test_what_is_promised_cannot_be_taken(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    await receive(db, company, [stock_line(product, location, 5)])
    await db.execute("update public.stock_levels set reserved = 3")
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        await adjust(db, company, [stock_line(product, location, -3)])
    assert refused.value.sqlstate == "PT409"
    assert (await adjust(db, company, [stock_line(product, location, -2)]))["levels"][0]["on_hand"] == 3


async def test_the_first_level_that_lacks_something_is_named(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    rich, new = await add_product(db, company, "RICH"), await add_product(db, company, "NEW")
    await receive(db, company, [stock_line(rich, location, 9), stock_line(product, location, 5)])
    await db.execute("update public.stock_levels set reserved = 3 where product_id = %s", (product,))
    plenty, promised = stock_line(rich, location, -2), stock_line(product, location, -3)
    absent = stock_line(new, location, -1)

    async def detail(*lines: Any, allow: bool = False) -> str:
        with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
            async with acting_as(db, company.owner):
                await db.execute(
                    "select public.adjust_stock(%s, %s, p_allow_shortfall => %s)",
                    (company.tenant_id, Jsonb(list(lines)), allow),
                )
        return refused.value.diag.message_detail or ""

    of_product = f"Line 2: product {product} at location {location} has 5 on hand, 3 of them promised;"
    of_new = f"product {new} at location {location} has 0 on hand, 0 of them promised; 1 cannot be taken."
    assert await detail(plenty, promised, absent) == f"{of_product} 3 cannot be taken."
    assert await detail(absent, promised) == f"Line 1: {of_new}"
    assert await detail(promised, absent, allow=True) == f"Line 2: {of_new}", "promises do not count here"
    # what counts is the sum of a level's lines
    assert await detail(stock_line(product, location, 2), promised, stock_line(product, location, -2)) == (
        f"{of_product} 3 cannot be taken."
    )


async def test_a_transfer_of_more_than_there_is_names_the_level(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    other = await add_location(db, company, "OTHER")
    await receive(db, company, [stock_line(product, location, 5)])
    line = {"product_id": str(product), "from_location_id": str(location), "to_location_id": str(other)}
    with pytest.raises(psycopg.Error, match=r"stock\.insufficient") as refused:
        async with acting_as(db, company.owner):
            await db.execute(
                "select public.transfer_stock(%s, %s)", (company.tenant_id, Jsonb([{**line, "quantity": 6}]))
            )
    assert refused.value.diag.message_detail == (
        f"Product {product} at location {location} has 5 on hand, 0 of them promised; 6 cannot be taken."
    )


async def test_every_version_of_a_level_has_its_movement(
    database: Database, db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    sessions = [await database.connect() for _ in range(6)]

    async def work(session: Connection) -> None:
        for quantity in (3, -1, 2):
            await adjust(session, company, [stock_line(product, location, quantity)])

    await receive(db, company, [stock_line(product, location, 100)])
    await asyncio.gather(*(work(session) for session in sessions))
    ledger = await rows(db, LEDGER)
    assert [version for *_, version in ledger] == list(range(2, 2 + 1 + 6 * 3))
    running = 0
    for _, quantity, after, _ in ledger:
        running += quantity
        assert after == running
    assert await column(db, LEVELS) == [running] == [100 + 6 * 4]


# -- keys ----------------------------------------------------------------------------------------------------


async def test_fifty_twins_with_one_key_have_one_effect(
    database: Database, db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    sessions = [await database.connect() for _ in range(50)]
    line = stock_line(product, location, 7)
    answers = await asyncio.gather(*(receive(session, company, [line], "one") for session in sessions))
    assert all(answer == answers[0] for answer in answers)
    assert await column(db, LEVELS) == [7]
    assert len(await rows(db, LEDGER)) == 1


async def test_a_key_belongs_to_one_request(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    first = await receive(db, company, [stock_line(product, location, 1)], "k")
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused") as refused:
        await receive(db, company, [stock_line(product, location, 2)], "k")
    assert refused.value.sqlstate == "PT422"
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused"):
        await receive(db, company, [stock_line(product, location, 1)], "k", reason="another")
    assert await receive(db, company, [stock_line(product, location, 1)], "k") == first


async def test_a_key_belongs_to_one_caller(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    clerk = await add_member(db, company, "clerk")
    line = stock_line(product, location, 1)
    await receive(db, company, [line], "k")
    await receive(db, company, [line], "k", who=clerk)
    assert await column(db, LEVELS) == [2]


async def test_a_key_belongs_to_one_command(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    """Who sends a key again has sent this before: another command with it is a mistake, and not done."""
    line = stock_line(product, location, 1)
    first = await receive(db, company, [line], "k")
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused") as refused:
        await adjust(db, company, [line], "k")
    assert refused.value.diag.message_detail == "The key k was used for another receive_stock request."
    assert await receive(db, company, [line], "k") == first
    assert await column(db, LEVELS) == [1]


# -- what is refused -----------------------------------------------------------------------------------------


async def test_ids_of_another_tenant_are_not_found(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    rival = await found_company(db, "rival")
    theirs, their_place = await add_product(db, rival), await add_location(db, rival)
    for line in (
        stock_line(theirs, location, 1),
        stock_line(product, their_place, 1),
        stock_line(uuid.uuid4(), location, 1),
    ):
        with pytest.raises(psycopg.Error, match=r"stock\.not_found") as refused:
            await receive(db, company, [stock_line(product, location, 1), line])
        assert refused.value.sqlstate == "PT404"
    assert await column(db, LEVELS) == []


async def test_strangers_and_viewers_move_nothing(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    line = stock_line(product, location, 1)
    stranger = (await found_company(db, "rival")).owner
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await receive(db, company, [line], who=stranger)
    with pytest.raises(psycopg.Error, match=r"access\.denied") as refused:
        await receive(db, company, [line], who=await add_member(db, company, "viewer"))
    assert refused.value.sqlstate == "PT403"


async def test_a_quantity_is_a_whole_number_within_reason(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    for quantity in (1.5, "3", None, True, 1e13, -1, 0, [1], 1e30):
        lines = [stock_line(product, location, 1), stock_line(product, location, quantity)]
        with pytest.raises(psycopg.Error, match=r"stock\.quantity_invalid") as refused:
            await receive(db, company, lines)
        assert refused.value.diag.message_detail == "Line 2: quantity must be a whole number above 0."
    with pytest.raises(psycopg.Error, match=r"stock\.quantity_invalid") as refused:
        await adjust(db, company, [stock_line(product, location, -1), stock_line(product, location, 0)])
    assert refused.value.diag.message_detail == "Line 2: quantity must be a whole number, and not 0."


async def test_lines_are_a_list_of_lines(db: Connection, company: Company) -> None:
    bad: list[Any] = [[], {}, None, "lines", [[]], [1], [None], [{}]]
    for lines in bad:
        with pytest.raises(psycopg.Error, match=r"stock\.(lines|quantity)_invalid") as refused:
            async with acting_as(db, company.owner):
                await db.execute("select public.receive_stock(%s, %s)", (company.tenant_id, Jsonb(lines)))
        assert refused.value.sqlstate == "PT400"


async def test_a_reason_that_is_too_long_is_not_called_a_lack_of_stock(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="stock_movements_reason_length"):
        await receive(db, company, [stock_line(product, location, 1)], reason="x" * 501)


async def test_the_ledger_is_append_only_even_for_its_owner(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    await receive(db, company, [stock_line(product, location, 1)])
    changes: list[LiteralString] = [
        "update public.stock_movements set quantity = 2",
        "delete from public.stock_movements",
        "truncate public.stock_movements",
    ]
    for change in changes:
        with pytest.raises(psycopg.Error, match=r"ledger\.append_only"):
            await db.execute(change)


async def test_levels_change_by_commands_only(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    await receive(db, company, [stock_line(product, location, 1)])
    for change in ("on_hand = 9", "reserved = 0", "shortfall = 1"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner):
                await db.execute(b"update public.stock_levels set " + change.encode())
    async with acting_as(db, company.owner):
        await db.execute("update public.stock_levels set safety = 2, reorder_point = 5")
    assert await value(db, "select version from public.stock_levels") == 3


# -- locks ---------------------------------------------------------------------------------------------------


async def test_crossed_lines_do_not_deadlock(
    database: Database, db: Connection, company: Company, location: uuid.UUID
) -> None:
    """Half of the levels are there already, the others are made by whoever comes first."""
    products = await add_products(db, company, 8)
    await receive(db, company, [stock_line(product, location, 1) for product in products[::2]])
    sessions = [await database.connect() for _ in range(6)]

    async def work(number: int, session: Connection) -> None:
        order = products if number % 2 else products[::-1]
        for _ in range(5):
            await receive(session, company, [stock_line(product, location, 1) for product in order])

    await asyncio.gather(*(work(number, session) for number, session in enumerate(sessions)))
    assert sorted(await column(db, LEVELS)) == [30] * 4 + [31] * 4


async def test_a_whole_number_may_be_written_with_a_decimal_point(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    await receive(db, company, [stock_line(product, location, 2.0)])
    assert await column(db, "select quantity from public.stock_movements") == [2]


async def test_a_client_cannot_take_a_source_away_from_an_import(
    db: Connection, company: Company, product: uuid.UUID, location: uuid.UUID
) -> None:
    line = {**stock_line(product, location, 1), "source": "import:abc:2"}
    for _ in range(2):
        await receive(db, company, [line])
    assert await column(db, "select source from public.stock_movements") == [None, None]
