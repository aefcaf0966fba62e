"""The inbox: what was refused, waits, or is gone here is no word that holds."""

from __future__ import annotations

import uuid

from tests.databases import Connection
from tests.sql.ask import column, rows, value
from tests.sql.company import Company, add_member, add_product
from tests.sql.inbox import EDITS, PRODUCT, hand_in, message, stock_level, work_off

LONG = "x" * 501
"""No name of a product."""


async def test_a_return_while_the_deletion_waits_is_no_duplicate(db: Connection, company: Company) -> None:
    """The row still stands there as the sender has it, and will be gone."""
    product = await add_product(db, company)
    body = {"sku": "SHIRT", "name": "Shirt"}
    await hand_in(db, company, message(product, 1, body))
    gone, back = message(product, 2, None), message(product, 3, body)
    assert await hand_in(db, company, gone) == ["queued"]
    assert await hand_in(db, company, back) == ["queued"]
    told = {"sku": {"set": "SHIRT"}, "name": {"set": "Shirt"}}
    assert (await rows(db, EDITS))[1] == ("update", told, None)
    assert await work_off(db, company) == ["applied", "conflict"], "deletions against edits are people's"


async def test_all_of_it_in_one_call(db: Connection, company: Company) -> None:
    product, new = await add_product(db, company), uuid.uuid4()
    await db.execute(
        "insert into public.sync_policies (tenant_id, entity, field, policy)"
        " values (%s, 'product', 'deleted_at', 'client_wins')",
        (company.tenant_id,),
    )
    for which, sku in ((product, "SHIRT"), (new, "BAG")):
        body = {"sku": sku, "name": sku}
        bodies = enumerate((body, None, body, None, body), 1)
        words = [message(which, n, it, occurred_at=None) for n, it in bodies]
        await hand_in(db, company, *words)
    await work_off(db, company)
    assert await column(db, "select name from public.products where deleted_at is null order by name") == [
        "BAG",
        "SHIRT",
    ]
    await hand_in(
        db, company, message(product, 6, None), message(product, 7, body), message(product, 8, None)
    )
    await work_off(db, company)
    assert await column(db, "select name from public.products where deleted_at is null") == ["BAG"]


async def test_a_product_that_we_deleted_for_good_does_not_come_back(
    db: Connection, company: Company
) -> None:
    product, bag = await add_product(db, company), await add_product(db, company, "BAG")
    body = {"sku": "SHIRT", "name": "Shirt"}
    await hand_in(db, company, message(product, 1, body))
    await db.execute("delete from public.products")
    assert await hand_in(db, company, message(product, 2, body | {"name": "Boot"})) == ["rejected"]
    assert await hand_in(db, company, message(bag, 1, {"sku": "BAG", "name": "Bag"})) == ["rejected"]
    assert (
        await column(db, "select error ->> 'code' from public.inbox_messages where status = 'rejected'")
        == ["product.not_found"] * 2
    )
    assert await hand_in(db, company, message(product, 3, None)) == ["duplicate"]
    assert await hand_in(db, company, message(product, 4, body)) == ["queued"], "it asks"
    assert await work_off(db, company) == ["applied"]


async def test_what_the_worker_refused_is_said_again_by_the_next_message(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company, name="Shirt")
    body = {"name": "Shirt", "price": 0, "attributes": {"size": 4}}
    await db.execute("update public.products set attributes = %s", ('{"size": 4}',))
    await hand_in(db, company, message(product, 1, body))
    wrong = {"name": LONG, "price": 5, "attributes": {"color": "red"}}
    await hand_in(db, company, message(product, 2, wrong))
    assert await work_off(db, company) == ["rejected"]
    right = wrong | {"name": "Boot"}
    assert await hand_in(db, company, message(product, 3, right)) == ["queued"]
    assert (await rows(db, EDITS))[1] == (
        "update",
        {
            "name": {"set": "Boot"},
            "price": {"set": 5},
            "attributes.size": {"set": None},
            "attributes.color": {"set": "red"},
        },
        2,
    ), "and to the version that it knew, so nobody need decide"
    assert await work_off(db, company) == ["rejected", "applied"]
    assert await rows(db, PRODUCT) == [("Boot", 5, {"color": "red"}, 3)]
    assert await hand_in(db, company, message(product, 4, right)) == ["duplicate"]


async def test_a_refusal_takes_back_nothing_that_was_said_since(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name="Shirt")
    await hand_in(db, company, message(product, 1, {"name": "Shirt", "price": 0}))
    fine = message(product, 2, {"name": "Shirt", "price": 4})
    wrong = message(product, 3, {"name": LONG, "price": 5})
    later = message(product, 4, {"name": "Boot", "price": 5})
    assert await hand_in(db, company, fine, wrong, later) == ["queued"] * 3
    assert await work_off(db, company) == ["applied", "rejected", "applied"]
    assert await hand_in(db, company, message(product, 5, {"name": "Boot", "price": 5})) == ["queued"]
    assert (await rows(db, EDITS))[3][1:] == ({"price": {"set": 5}}, 3)
    assert await work_off(db, company) == ["applied", "rejected", "applied", "applied"]
    assert await rows(db, PRODUCT) == [("Boot", 5, {}, 4)]


async def test_a_refused_first_word_on_a_field_is_still_its_first(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name="Shirt")
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    wrong = {"sku": "x" * 101, "attributes": {"size": 4}}
    assert await hand_in(db, company, message(product, 2, wrong, occurred_at=None)) == ["queued"]
    assert await work_off(db, company) == ["rejected"]
    await db.execute("update public.products set attributes = %s", ('{"color": "red"}',))
    assert await hand_in(db, company, message(product, 3, {"attributes": {"size": 4}})) == ["queued"]
    assert (await rows(db, EDITS))[1] == ("update", {"attributes.size": {"set": 4}}, None)


async def test_an_amount_that_was_refused_is_counted_again(db: Connection, company: Company) -> None:
    level = await stock_level(db, company, await add_product(db, company))
    for version, on_hand, status in ((1, 100, "duplicate"), (2, 10, "queued"), (3, 11, "queued")):
        told = message(level, version, {"on_hand": on_hand}, entity="stock_level")
        assert await hand_in(db, company, told) == [status]
    assert await work_off(db, company) == ["rejected", "applied"], "there are but 50"
    last = message(level, 4, {"on_hand": 95}, entity="stock_level")
    assert await hand_in(db, company, last) == ["queued"]
    assert (await rows(db, EDITS))[2][1] == {"on_hand": {"delta": -6}}
    await work_off(db, company)
    assert await value(db, "select on_hand from public.stock_levels") == 45, "five less, as over there"


async def test_a_deletion_that_was_refused_is_asked_again(db: Connection, company: Company) -> None:
    product, key = await add_product(db, company, name="Shirt"), await add_member(db, company, "integration")
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    assert await hand_in(db, company, message(product, 2, None), who=key) == ["queued"]
    assert await work_off(db, company) == ["rejected"], "keys delete no products"
    assert await hand_in(db, company, message(product, 3, None), who=key) == ["queued"]
    assert await work_off(db, company) == ["rejected"] * 2
    assert await hand_in(db, company, message(product, 4, {"name": "Shirt"}), who=key) == ["duplicate"]
    words = message(product, 5, None), message(product, 6, {"name": "Boot"})
    assert await hand_in(db, company, *words, who=key) == ["queued"] * 2
    assert (await work_off(db, company))[2] == "rejected"
    again = message(product, 7, {"name": "Boot"})
    assert await hand_in(db, company, again, who=key) == ["duplicate"], "a newer word stands"


async def test_a_row_that_somebody_else_made_first_is_not_taken_for_the_sender_s(
    db: Connection, company: Company
) -> None:
    new = uuid.uuid4()
    body = {"sku": "BAG", "name": "Bag"}
    await hand_in(db, company, message(new, 1, body))
    make = "insert into public.products (id, tenant_id, sku, name) values (%s, %s, 'BAG', 'Sack')"
    await db.execute(make, (new, company.tenant_id))
    assert await work_off(db, company) == ["rejected"]
    assert await hand_in(db, company, message(new, 2, body)) == ["queued"]
    assert (await rows(db, EDITS))[1] == ("update", {"name": {"set": "Bag"}}, None)


async def test_of_a_sender_whose_changes_wait_only_the_last_thousand_are_asked_for(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    for first in (1, 1001):
        told = [message(product, n, {"name": str(n)}) for n in range(first, first + 1000)]
        await hand_in(db, company, *told)
    last = "select id from public.sync_changes order by seq desc limit 1000"
    noted = await column(db, "select unnest(waiting_changes) from private.inbox_states")
    assert noted == (await column(db, last))[::-1]
