"""Orders moved by several at once: one effect per key, one winner per version, nothing sold twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.sql.ask import column, open_transaction, rpc, value, waits_for_a_lock
from tests.sql.company import Company, add_location, receive, stock_line
from tests.sql.inventory import assert_books_agree
from tests.sql.ordering import Order, Shop, happen, let_holds_expire, open_shop, part, place, stock, wants


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    return await open_shop(db, company)


async def test_twins_with_one_key_have_one_effect(database: Database, db: Connection, shop: Shop) -> None:
    order = await happen(db, shop.company, await place(db, shop.company, [wants(shop.shirt, 5)]), "pay")
    sessions = [await database.connect() for _ in range(20)]
    answers = await asyncio.gather(
        *(
            happen(session, shop.company, order, "fulfil", key="parcel-1", lines=part(order, 2))
            for session in sessions
        )
    )
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["status"], answers[0]["fulfilled"]) == ("partially_fulfilled", 2)
    assert await stock(db, shop.shirt) == (8, 3)
    assert await column(db, "select event from public.order_history order by id") == [
        "place",
        "pay",
        "fulfil",
    ]
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused"):
        await happen(db, shop.company, order, "fulfil", key="parcel-1", lines=part(order, 3))
    await assert_books_agree(db)


async def test_of_twins_without_a_key_one_wins(database: Database, db: Connection, shop: Shop) -> None:
    order = await happen(db, shop.company, await place(db, shop.company, [wants(shop.shirt, 5)]), "pay")
    sessions = [await database.connect() for _ in range(12)]
    answers = await asyncio.gather(
        *(happen(session, shop.company, order, "fulfil", lines=part(order, 1)) for session in sessions),
        return_exceptions=True,
    )
    refused = [str(answer).splitlines()[0] for answer in answers if isinstance(answer, psycopg.Error)]
    assert refused == ["version.stale"] * 11
    assert await stock(db, shop.shirt) == (9, 4)


async def test_a_cancellation_that_waits_for_a_payment_is_stale(
    db: Connection, other: Connection, third: Connection, shop: Shop
) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 5)])
    async with open_transaction(other):
        paid = await happen(other, shop.company, order, "pay")
        late = asyncio.create_task(happen(db, shop.company, order, "cancel"))
        await waits_for_a_lock(third, db)
        await other.commit()
    with pytest.raises(psycopg.Error, match=r"version\.stale") as refused:
        await late
    assert refused.value.sqlstate == "PT409"
    assert refused.value.diag.message_detail == "You sent version 1; the stored version is 2."
    assert (paid["status"], await stock(db, shop.shirt)) == ("paid", (10, 5))


async def test_without_a_version_the_second_event_meets_the_new_status(db: Connection, shop: Shop) -> None:
    order = await place(db, shop.company, [wants(shop.shirt, 5)])
    await happen(db, shop.company, order, "pay", version=None)
    with pytest.raises(psycopg.Error, match=r"order\.transition_illegal"):
        await happen(db, shop.company, order, "pay", version=None)


async def test_late_payments_share_what_is_left(database: Database, db: Connection, company: Company) -> None:
    """Twenty crossed orders of two bundles, paid at once after their holds: as many as there is stock for."""
    shop = await open_shop(db, company)
    far = await add_location(db, company, "FAR")
    goods = (shop.shirt, shop.sock)
    await receive(db, company, [stock_line(product, far, 50) for product in goods])
    late = []
    for number in range(20):
        pair = goods if number % 2 else goods[::-1]
        late.append(await place(db, company, [wants(product, 3) for product in pair]))
    await let_holds_expire(db, late[-1])
    await rpc(db, "sweep_reservations")
    await place(db, company, [wants(shop.shirt, 37)])
    sessions = [await database.connect() for _ in range(20)]

    async def pay(session: Connection, order: Order) -> str:
        status: str = (await happen(session, company, order, "pay"))["status"]
        return status

    statuses = Counter(await asyncio.gather(*map(pay, sessions, late)))
    assert statuses == {"paid": 7, "needs_review": 13}, "60 - 37 shirts are left for bundles of three"
    assert await stock(db, shop.shirt) == (60, 37 + 7 * 3)
    await assert_books_agree(db)


async def test_a_storm_of_orders_neither_deadlocks_nor_oversells(
    database: Database, db: Connection, company: Company
) -> None:
    shop = await open_shop(db, company)
    sessions = [await database.connect() for _ in range(12)]

    async def buy(number: int, session: Connection) -> int:
        pair = (shop.shirt, shop.sock) if number % 2 else (shop.sock, shop.shirt)
        sold = 0
        for event in ("ship", "cancel", "ship"):
            try:
                order = await place(session, company, [wants(product, 1) for product in pair])
            except psycopg.Error as refused:
                if refused.sqlstate != "PT409":
                    raise
                continue
            order = await happen(session, company, order, "pay")
            order = await happen(session, company, order, event)
            sold += order["status"] == "shipped"
        return sold

    sold = sum(await asyncio.gather(*(buy(number, session) for number, session in enumerate(sessions))))
    assert 0 < sold <= 10
    assert await stock(db, shop.shirt) == await stock(db, shop.sock) == (10 - sold, 0)
    assert await value(db, "select count(*) from public.orders where status = 'shipped'") == sold
    await assert_books_agree(db)
