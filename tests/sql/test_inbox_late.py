"""A message that comes late says what no newer one has said, and no more."""

from __future__ import annotations

import uuid
from typing import Any, LiteralString

from tests.databases import Connection
from tests.sql.ask import column, rows, value
from tests.sql.company import Company, add_product
from tests.sql.inbound import event, receive_event
from tests.sql.inbox import PRODUCT, hand_in, message, stock_level, work_off

NOW: LiteralString = (
    "select sender_version::int, field_versions, deleted_version::int from private.inbox_states"
)


async def test_late_fields_that_no_newer_word_named_are_taken(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name="Shirt")
    await hand_in(db, company, message(product, 3, {"price": 3, "attributes": {"size": 4}}))
    late = message(product, 2, {"name": "Late", "price": 2, "attributes": {"color": "red"}})
    assert await hand_in(db, company, late) == ["queued"]
    later_still = message(product, 1, {"name": "Later", "description": "Soft"})
    assert await hand_in(db, company, later_still) == ["queued"]
    assert await hand_in(db, company, message(product, 0, {"name": "Last", "price": 0})) == ["stale"]
    edits = await column(db, "select edit from public.sync_changes order by seq")
    assert edits[1:] == [{"name": {"set": "Late"}}, {"description": {"set": "Soft"}}]
    told = {"price": 3, "attributes": 3, "name": 2, "description": 1}
    assert await rows(db, NOW) == [(3, told, -1)]
    # what it says next is compared with all of that
    same = message(product, 4, {"name": "Late", "price": 3, "description": "Soft"})
    assert await hand_in(db, company, same) == ["duplicate"]


async def test_in_whatever_order_parts_come_the_outcome_is_the_same(db: Connection, company: Company) -> None:
    words: list[dict[str, Any]] = [
        {"name": "One", "price": 1},
        {"price": 2, "description": "Two"},
        {"name": "Three"},
    ]
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for number, order in enumerate(orders):
        made = uuid.uuid4()
        await hand_in(db, company, message(made, 1, {"sku": f"BAG-{number}", "name": "Bag"}))
        for n in order:
            await hand_in(db, company, message(made, n + 2, words[n]))
    await work_off(db, company)
    query = "select distinct name, price::int, description from public.products"
    assert await rows(db, query) == [("Three", 2, "Two")]
    assert await value(db, "select count(*) from public.products") == len(orders)


async def test_nothing_from_before_a_deletion_comes_back(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name="Shirt")
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    await hand_in(db, company, message(product, 5, None))
    assert await hand_in(db, company, message(product, 4, {"price": 4})) == ["stale"]
    back = {"sku": "SHIRT", "name": "Back"}
    assert await hand_in(db, company, message(product, 7, back)) == ["queued"]
    assert await hand_in(db, company, message(product, 3, {"price": 3})) == ["stale"]
    assert await hand_in(db, company, message(product, 6, {"price": 6, "name": "No"})) == ["queued"]
    # nor is it gone by a deletion from before it came back
    assert await hand_in(db, company, message(product, 2, None)) == ["stale"]
    assert await rows(db, NOW) == [(7, {"sku": 7, "name": 7, "price": 6}, 5)]


async def test_a_late_amount_is_counted_only_if_none_is_newer(db: Connection, company: Company) -> None:
    level = await stock_level(db, company, await add_product(db, company))

    async def told(number: int, **body: int) -> list[str]:
        return await hand_in(db, company, message(level, number, dict(body), entity="stock_level"))

    assert await told(1, on_hand=40) == ["duplicate"]
    assert await told(3, safety=5) == ["queued"]
    assert await told(2, on_hand=37) == ["queued"], "three less, whatever was said of its safety"
    assert await told(5, on_hand=30) == ["queued"]
    assert await told(4, on_hand=35) == ["stale"]
    await work_off(db, company)
    assert await value(db, "select on_hand from public.stock_levels") == 40


async def test_a_late_event_is_applied_by_the_time_that_it_tells(db: Connection, company: Company) -> None:
    """As the review had it: the older one came after a retry."""
    made = event("product.created", "e-0", id=str(uuid.uuid4()), sku="BAG", name="Bag")
    assert await receive_event(db, company, "product", made) == "queued"

    async def told(event_id: str, second: int, **data: object) -> str:
        it = event("product.updated", event_id, id=made["data"]["id"], **data)
        return await receive_event(db, company, "product", it | {"timestamp": f"2026-11-20T10:00:0{second}Z"})

    assert await told("e-1", 4, price=7) == "queued"
    assert await told("e-2", 2, name="Late", price=2) == "queued"
    assert await told("e-3", 1, name="Older") == "stale"
    # its time does not make what came before it the last
    assert await told("e-4", 3, price=3) == "stale"
    assert await told("e-5", 4, price=8) == "queued"
    await work_off(db, company)
    assert await rows(db, PRODUCT) == [("Late", 8, {}, 4)]
