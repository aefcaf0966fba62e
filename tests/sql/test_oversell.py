"""Nothing is sold twice and a key has one effect, however many ask at once; the naive way is seen to fail."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import call, rows, value, waits_for_a_lock
from tests.sql.company import Company, add_location
from tests.sql.inventory import Shelf, add_shelf, assert_books_agree, command, level, reserve
from tests.sql.oversell import read_check_write


@pytest.fixture
async def shelf(db: Connection, company: Company) -> Shelf:
    """Five of one product."""
    return await add_shelf(db, company, 5)


async def sold_twice(database: Database, company: Company, shelf: Shelf) -> bool:
    """Whether a second buyer gets all five, who asks while the first one's transaction is open."""
    first, second, watcher = [await database.connect() for _ in range(3)]
    async with acting_as(first, company.owner):
        await call(first, "public", "reserve_stock", p_tenant_id=company.tenant_id, p_lines=[shelf.line(5)])
        buying = asyncio.create_task(reserve(second, company, [shelf.line(5)]))
        await waits_for_a_lock(watcher, second)
    try:
        await buying
    except psycopg.Error as error:
        if error.diag.message_primary != "stock.insufficient":
            raise
        return False
    return True


async def test_nothing_is_sold_twice(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    assert not await sold_twice(database, company, shelf)
    assert await level(db, shelf) == (5, 5)
    await assert_books_agree(db)


async def test_read_check_write_sells_twice(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    await read_check_write(db)
    assert await sold_twice(database, company, shelf)
    assert await level(db, shelf) == (5, 10)


async def test_two_hundred_twins_with_one_key_have_one_effect(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    sessions = [await database.connect() for _ in range(40)]
    twins = [reserve(sessions[n % 40], company, [shelf.line(2)], "one") for n in range(200)]
    locks = [asyncio.Lock() for _ in sessions]

    async def on_its_session(n: int) -> list[dict[str, object]]:
        async with locks[n % 40]:
            return await twins[n]

    answers = await asyncio.gather(*(on_its_session(n) for n in range(200)))
    assert all(answer == answers[0] for answer in answers)
    assert await level(db, shelf) == (5, 2)
    assert await value(db, "select count(*) from public.reservations") == 1


async def test_more_buyers_than_goods(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    """Carts name two products crosswise, one of them anywhere; there are enough for a third of them."""
    second = await add_shelf(db, company, 5, sku="SECOND")
    third = Shelf(company, shelf.product, await add_location(db, company, "THIRD"))
    await command(db, company, "receive_stock", lines=[third.line(5), second.line(5)])
    outcomes: Counter[str] = Counter()

    async def buy(number: int) -> None:
        session = await database.connect()
        lines = [shelf.line(1, anywhere=True), second.line(1)]
        try:
            await reserve(session, company, lines if number % 2 else lines[::-1])
        except psycopg.Error as error:
            outcomes[error.diag.message_primary or ""] += 1
        else:
            outcomes["sold"] += 1

    await asyncio.gather(*(buy(number) for number in range(30)))
    assert outcomes == {"sold": 10, "stock.insufficient": 20}
    assert await rows(db, "select on_hand - reserved from public.stock_levels") == [(0,)] * 3
    await assert_books_agree(db)


async def test_a_hold_cannot_expire_and_be_committed(
    db: Connection, other: Connection, company: Company, shelf: Shelf
) -> None:
    """The commit waits for the sweep of its level, and then sees what it did."""
    [held] = await reserve(db, company, [shelf.line(5)])
    async with db.transaction():
        await db.execute("update public.reservations set expires_at = now() - interval '1 second'")
        await db.execute("select worker.sweep_reservations()")
        ids = [held["reservation_id"]]
        commit = command(other, company, "commit_reservation", reservation_ids=ids)
        committing = asyncio.create_task(commit)
        await waits_for_a_lock(db, other)  # as postgres, who sees every session
    with pytest.raises(psycopg.Error, match=r"reservation\.expired"):
        await committing
    assert await level(db, shelf) == (5, 0)
