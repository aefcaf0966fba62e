"""Every event in every status: legal ones go where the table says, the others change nothing."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.company import Company
from tests.sql.inventory import assert_books_agree
from tests.sql.ordering import Shop, happen, open_shop, order_in, part, stock

# What an event of all that is left does to an order of five shirts, of which ten were there: the status
# afterwards, and how many shirts are on hand and reserved. Written apart from the table on purpose.
EXPECTED = {
    ("placed", "pay"): ("paid", 10, 5),
    ("placed", "cancel"): ("cancelled", 10, 0),
    ("needs_review", "allocate"): ("paid", 10, 5),
    ("needs_review", "cancel"): ("cancelled", 10, 0),
    ("needs_review", "refund"): ("refunded", 10, 0),
    ("paid", "fulfil"): ("fulfilled", 5, 0),
    ("paid", "ship"): ("shipped", 5, 0),
    ("paid", "cancel"): ("cancelled", 10, 0),
    ("paid", "refund"): ("refunded", 10, 0),
    ("partially_fulfilled", "fulfil"): ("fulfilled", 5, 0),
    ("partially_fulfilled", "ship"): ("shipped", 5, 0),
    ("partially_fulfilled", "cancel"): ("fulfilled", 8, 0),
    ("partially_fulfilled", "refund"): ("refunded", 8, 0),
    ("partially_fulfilled", "return"): ("partially_fulfilled", 10, 3),
    ("fulfilled", "ship"): ("shipped", 5, 0),
    ("fulfilled", "refund"): ("refunded", 5, 0),
    ("fulfilled", "return"): ("returned", 10, 0),
    ("shipped", "refund"): ("refunded", 5, 0),
    ("shipped", "return"): ("returned", 10, 0),
    ("cancelled", "refund"): ("refunded", 10, 0),
    ("returned", "refund"): ("refunded", 10, 0),
    ("refunded", "return"): ("refunded", 10, 0),
}
STATUSES = (
    "placed",
    "needs_review",
    "paid",
    "partially_fulfilled",
    "fulfilled",
    "shipped",
    "cancelled",
    "refunded",
    "returned",
)
EVENTS = ("pay", "allocate", "fulfil", "ship", "cancel", "refund", "return")

# Partial events, which stay where they are: what they leave (on hand, reserved).
PARTIAL = {
    ("needs_review", "refund"): ("needs_review", 10, 0),
    ("paid", "fulfil"): ("partially_fulfilled", 9, 4),
    ("paid", "refund"): ("paid", 10, 5),
    ("partially_fulfilled", "fulfil"): ("partially_fulfilled", 7, 2),
    ("partially_fulfilled", "refund"): ("partially_fulfilled", 8, 3),
    ("partially_fulfilled", "return"): ("partially_fulfilled", 9, 3),
    ("fulfilled", "refund"): ("fulfilled", 5, 0),
    ("fulfilled", "return"): ("fulfilled", 6, 0),
    ("shipped", "refund"): ("shipped", 5, 0),
    ("shipped", "return"): ("shipped", 6, 0),
    ("cancelled", "refund"): ("cancelled", 10, 0),
    ("returned", "refund"): ("returned", 10, 0),
    ("refunded", "return"): ("refunded", 6, 0),
}


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    return await open_shop(db, company)


async def test_the_table_holds_these_pairs_and_no_others(db: Connection) -> None:
    pairs = await rows(db, "select from_status, event from private.order_transitions")
    assert sorted(pairs) == sorted(EXPECTED)
    check = await value(
        db, "select pg_get_constraintdef(oid) from pg_constraint where conname = 'orders_status_known'"
    )
    assert sorted(re.findall(r"'(\w+)'::text", check)) == sorted(STATUSES)
    assert sorted(set(await column(db, "select event from private.order_transitions"))) == sorted(EVENTS)
    targets = await column(
        db,
        "select to_status from private.order_transitions union"
        " select else_status from private.order_transitions where else_status is not null",
    )
    assert set(targets) == set(STATUSES) - {"placed"}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("status", STATUSES)
async def test_every_event_in_every_status(db: Connection, shop: Shop, status: str, event: str) -> None:
    order = await order_in(db, shop, status)
    assert order["status"] == status
    before = await stock(db, shop.shirt)
    legal = sorted(legal for from_status, legal in EXPECTED if from_status == status)
    assert order["legal_events"] == legal

    if (status, event) not in EXPECTED:
        with pytest.raises(psycopg.Error, match=r"order\.transition_illegal") as refused:
            await happen(db, shop.company, order, event)
        assert refused.value.sqlstate == "PT409"
        assert (refused.value.diag.message_detail or "").endswith(f"legal: {', '.join(legal)}.")
        assert await stock(db, shop.shirt) == before
        assert await value(db, "select version from public.orders") == order["version"]
        return

    changed = await happen(db, shop.company, order, event)
    assert (changed["status"], *await stock(db, shop.shirt)) == EXPECTED[status, event]
    await assert_one_step(db, order["version"], status, event, changed["status"])


@pytest.mark.parametrize(("status", "event"), PARTIAL)
async def test_a_part_of_it(db: Connection, shop: Shop, status: str, event: str) -> None:
    order = await order_in(db, shop, status)
    asked = {"amount": 1.25} if event == "refund" else {"lines": part(order, 1)}
    changed = await happen(db, shop.company, order, event, **asked)
    assert (changed["status"], *await stock(db, shop.shirt)) == PARTIAL[status, event]
    await assert_one_step(db, order["version"], status, event, changed["status"])


async def assert_one_step(db: Connection, version: int, was: str, event: str, status: str) -> None:
    """One version, one line of history, one event of the order in the log; the books agree."""
    [(now, stored)] = await rows(db, "select version, status from public.orders")
    assert (now, stored) == (version + 1, status)
    history = await rows(
        db, "select event, from_status, to_status from public.order_history where order_version = %s", now
    )
    assert history == [(event, was, status)]
    await rpc(db, "dispatch_outbox")
    told = await column(db, "select type from public.events where entity = 'order' and version = %s", now)
    assert told == [f"order.{status if status != was else 'updated'}"]
    await assert_books_agree(db)
