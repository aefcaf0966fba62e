"""The inbox: a message is what its sender changed, and nothing else of ours is touched."""

from __future__ import annotations

import uuid

from tests.databases import Connection
from tests.sql.ask import column, rows, value
from tests.sql.company import (
    Company,
    add_product,
)
from tests.sql.inbox import EDITS, PRODUCT, hand_in, message, stock_level, work_off


async def test_a_new_product_is_made_and_then_only_what_changed_is_pushed(
    db: Connection, company: Company
) -> None:
    new = uuid.uuid4()
    body = {"sku": "BAG", "name": "Bag", "price": 10, "attributes": {"color": "red", "size": 4}}
    assert await hand_in(db, company, message(new, 7, body)) == ["queued"]
    assert await work_off(db, company) == ["applied"]
    later = body | {"price": 10.0, "name": "Big bag", "attributes": {"color": "red", "tags": ["new"]}}
    assert await hand_in(db, company, message(new, 9, later)) == ["queued"]
    assert (await rows(db, EDITS))[1] == (
        "update",
        {"name": {"set": "Big bag"}, "attributes.size": {"set": None}, "attributes.tags": {"set": ["new"]}},
        1,
    )
    assert await work_off(db, company) == ["applied", "applied"]
    assert await rows(db, PRODUCT) == [("Big bag", 10, {"color": "red", "tags": ["new"]}, 2)]


async def test_what_we_changed_stays_where_the_sender_changed_something_else(
    db: Connection, company: Company
) -> None:
    """Overwriting our row with the sender's would undo the price; so would an edit of all that differs."""
    product = await add_product(db, company, name="Shirt")
    body = {"sku": "SHIRT", "name": "Shirt", "price": 0}
    assert await hand_in(db, company, message(product, 1, body)) == ["duplicate"], "nothing differs"
    await db.execute("update public.products set price = 12")
    assert await hand_in(db, company, message(product, 2, body | {"name": "Boot"})) == ["queued"]
    assert await rows(db, EDITS) == [("update", {"name": {"set": "Boot"}}, 2)]
    assert await work_off(db, company) == ["applied"]
    assert await rows(db, PRODUCT) == [("Boot", 12, {}, 3)]


async def test_what_both_changed_is_decided_by_policy(db: Connection, company: Company) -> None:
    """However many messages said nothing of it between: the sender never knew our price."""
    product = await add_product(db, company)
    body = {"sku": "SHIRT", "name": "Shirt", "price": 0}
    await hand_in(db, company, message(product, 1, body))
    await db.execute("update public.products set price = 12")
    await hand_in(db, company, message(product, 2, body | {"name": "Boot"}))
    await work_off(db, company)
    await hand_in(db, company, message(product, 3, body | {"name": "Boot", "price": 15}))
    assert (await rows(db, EDITS))[1] == ("update", {"price": {"set": 15}}, 1)
    assert await work_off(db, company) == ["applied", "conflict"]
    query = "select field, base::int, ours::int, theirs::int from public.sync_conflicts"
    assert await rows(db, query) == [("price", 0, 12, 15)]


async def test_messages_that_wait_do_not_conflict_with_each_other(db: Connection, company: Company) -> None:
    product, new = await add_product(db, company), uuid.uuid4()
    body = {"sku": "SHIRT", "name": "Shirt", "price": 0}
    await hand_in(db, company, message(product, 1, body))
    for version, price in ((2, 5), (3, 6), (4, 7)):
        await hand_in(db, company, message(product, version, body | {"price": price}))
    fresh = {"sku": "BAG", "name": "Bag", "price": 1}
    for version, price in ((1, 1), (2, 2), (3, 3)):
        await hand_in(db, company, message(new, version, fresh | {"price": price}))
    assert [base for _, _, base in await rows(db, EDITS)] == [1, 1, 1, None, 1, 1]
    assert await work_off(db, company) == ["applied"] * 6
    assert sorted(await column(db, "select price::int from public.products")) == [3, 7]


async def test_a_first_word_is_no_edit_of_ours(db: Connection, company: Company) -> None:
    """Nobody knows who changed what: the later write wins, a price waits for a person, nothing is removed."""
    product = await add_product(db, company, name="Shirt")
    await db.execute(
        "update public.products set price = 12, attributes = %s", ('{"color": "red", "size": 4}',)
    )
    body = {"name": "Boot", "price": 15, "attributes": {"size": 5}}
    await hand_in(db, company, message(product, 4, body))
    [(operation, edit, base)] = await rows(db, EDITS)
    assert (operation, sorted(edit), base) == ("update", ["attributes.size", "name", "price"], None)
    assert await work_off(db, company) == ["conflict"]
    assert await rows(db, PRODUCT) == [("Shirt", 12, {"color": "red", "size": 4}, 2)], "it was said before"
    now = str(await value(db, "select private.now()"))
    await hand_in(db, company, message(product, 1, body, occurred_at=now), source="shop")
    await work_off(db, company)
    assert await rows(db, PRODUCT) == [("Boot", 12, {"color": "red", "size": 5}, 3)]


async def test_amounts_move_by_what_moved_over_there(db: Connection, company: Company) -> None:
    level = await stock_level(db, company, await add_product(db, company))
    told = [
        message(level, n, {"on_hand": on_hand}, entity="stock_level")
        for n, on_hand in ((1, 10), (2, 7), (3, 9))
    ]
    assert await hand_in(db, company, told[0]) == ["duplicate"], "from here on it is counted"
    assert await hand_in(db, company, told[2], told[1]) == ["queued", "queued"]
    assert [edit for _, edit, _ in await rows(db, EDITS)] == [
        {"on_hand": {"delta": -3}},
        {"on_hand": {"delta": 2}},
    ]
    limits = message(level, 4, {"on_hand": 9, "safety": 2}, entity="stock_level")
    assert await hand_in(db, company, limits) == ["queued"]
    assert await work_off(db, company) == ["applied", "applied", "merged"], (
        "of the safety it is the first word"
    )
    assert await rows(db, "select on_hand, safety from public.stock_levels") == [(49, 2)]
    nowhere = message(uuid.uuid4(), 1, {"on_hand": 1}, entity="stock_level")
    assert await hand_in(db, company, nowhere) == ["rejected"]
    assert await value(
        db, "select error ->> 'code' from public.inbox_messages where status = 'rejected'"
    ) == ("stock.not_found")


async def test_a_deletion_and_a_return(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    body = {"sku": "SHIRT", "name": "Shirt"}
    await hand_in(db, company, message(product, 1, body))
    assert await hand_in(db, company, message(product, 2, None), message(product, 3, None)) == [
        "queued",
        "duplicate",
    ]
    assert await work_off(db, company) == ["applied"]
    assert await rows(db, PRODUCT) == []
    assert await hand_in(db, company, message(product, 4, body)) == ["queued"]
    assert await work_off(db, company) == ["applied", "conflict"], "deletions against edits are people's"
    assert await hand_in(db, company, message(uuid.uuid4(), 1, None)) == ["duplicate"], "there is no such row"


async def test_one_that_we_deleted_does_not_come_back_unasked(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    body = {"sku": "SHIRT", "name": "Shirt"}
    await hand_in(db, company, message(product, 1, body))
    await db.execute("update public.products set deleted_at = now()")
    await hand_in(db, company, message(product, 2, body | {"name": "Boot"}))
    assert await work_off(db, company) == ["conflict"]
    assert await rows(db, PRODUCT) == []


async def test_a_sender_may_tell_some_fields_only(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await hand_in(db, company, message(product, 1, {"name": "Shirt", "price": 0}))
    await hand_in(db, company, message(product, 2, {"name": "Boot"}), message(product, 3, {"price": 4}))
    assert [edit for _, edit, _ in await rows(db, EDITS)] == [
        {"name": {"set": "Boot"}},
        {"price": {"set": 4}},
    ]


async def test_what_a_product_was_made_with_is_known_though_the_sender_never_named_it(
    db: Connection, company: Company
) -> None:
    """Compared with nothing, the price would have no base, and would take the name's along."""
    new = uuid.uuid4()
    body = {"sku": "BAG", "name": "Bag"}
    await hand_in(db, company, message(new, 1, body))
    await work_off(db, company)
    more = {
        "name": "Big bag",
        "price": 12,
        "description": "Red",
        "attributes": {"size": 4},
        "parent_id": None,
    }
    assert await hand_in(db, company, message(new, 2, body | more)) == ["queued"]
    [_, (_, edit, base)] = await rows(db, EDITS)
    assert (sorted(edit), base) == (["attributes.size", "description", "name", "price"], 1)
    assert await work_off(db, company) == ["applied", "applied"]
    assert await hand_in(db, company, message(new, 3, {"status": "draft", "currency": "USD"})) == [
        "duplicate"
    ]


async def test_a_first_word_on_a_field_takes_no_base_from_the_others(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company, name="Shirt")
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    await db.execute("update public.products set price = 12, description = 'Ours'")
    more = {"name": "Boot", "price": 15, "description": "Ours", "status": "draft"}
    assert await hand_in(db, company, message(product, 2, more)) == ["queued"]
    assert await rows(db, EDITS) == [
        ("update", {"name": {"set": "Boot"}}, 2),
        ("update", {"price": {"set": 15}}, None),
    ]
    both = "select array[change_id, first_change_id] from public.inbox_messages where sender_version = 2"
    assert await value(db, both) == await column(db, "select id from public.sync_changes order by seq")
    assert await hand_in(db, company, message(product, 3, more | {"name": "Shoe", "price": 16})) == ["queued"]
    assert [base for _, _, base in await rows(db, EDITS)] == [2, None, 2, None], "while it waits, too"
    assert await work_off(db, company) == ["applied", "conflict", "applied", "conflict"]
    assert await rows(db, PRODUCT) == [("Shoe", 12, {}, 4)]


async def test_a_call_of_messages_may_be_more_changes_than_a_push_takes(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    told = [message(product, n, {"name": str(n), "price": n}) for n in range(2, 602)]
    assert set(await hand_in(db, company, *told)) == {"queued"}
    assert await value(db, "select count(*) from public.sync_changes") == 1200


async def test_times_and_ids_compare_as_what_they_are(db: Connection, company: Company) -> None:
    parent, product = await add_product(db, company), await add_product(db, company, "BAG")
    await db.execute(
        "update public.products set publish_at = '2027-01-01T00:00:00Z', parent_id = %s where id = %s",
        (parent, product),
    )
    same = {"publish_at": "2027-01-01T01:00:00+01:00", "parent_id": str(parent).upper()}
    assert await hand_in(db, company, message(product, 1, same)) == ["duplicate"]
