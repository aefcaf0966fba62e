"""The inbox: each message is taken once, and a sender's messages in its order, from whoever may."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import (
    Company,
    add_member,
    add_product,
    found_company,
    rename,
)
from tests.sql.inbox import EDITS, hand_in, message, stock_level, work_off
from tests.sql.syncing import change, pending, push


async def test_a_message_is_taken_once(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    one = message(product, 1, {"name": "Boot"})
    assert await hand_in(db, company, one, one) == ["queued", "(queued)"]
    assert await hand_in(db, company, one) == ["(queued)"]
    assert len(await rows(db, EDITS)) == 1
    other = await found_company(db, "other")
    assert await hand_in(db, other, one) == ["queued"], "ids are the sender's, for each tenant"
    assert await hand_in(db, company, one, source="shop") == ["queued"]


async def test_what_is_not_newer_is_kept_and_not_applied(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await hand_in(db, company, message(product, 5, {"name": "Boot"}))
    old = message(product, 4, {"name": "Shoe"})
    same = message(product, 5, {"name": "Sock"}, message_id="again")
    assert await hand_in(db, company, old, same) == ["stale", "stale"]
    assert await hand_in(db, company, old) == ["(stale)"]
    assert len(await rows(db, EDITS)) == 1
    assert await value(db, "select count(*) from public.inbox_messages") == 3


async def test_a_call_is_taken_in_the_order_of_versions(db: Connection, company: Company) -> None:
    one, two = await add_product(db, company), await add_product(db, company, "BAG")
    names = [(one, 3, "c"), (two, 1, "x"), (one, 1, "a"), (one, 2, "b")]
    told = [message(which, version, {"name": name}, occurred_at=None) for which, version, name in names]
    assert await hand_in(db, company, *told) == ["queued"] * 4
    pushed = await rows(db, "select entity_id, edit #>> '{name,set}' from public.sync_changes order by seq")
    assert pushed == [(one, "a"), (two, "x"), (one, "b"), (one, "c")], "and in the places that they had"
    await work_off(db, company)
    assert sorted(await column(db, "select name from public.products")) == ["c", "x"]


async def test_a_gap_in_the_versions_is_none(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    for version in (1, 5):
        assert await hand_in(db, company, message(product, version, {"name": str(version)})) == ["queued"]


async def test_two_calls_at_once_do_not_take_the_same_last_word(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    """Else both would count from 10, and the level would fall by 3 and by 5."""
    level = await stock_level(db, company, await add_product(db, company))
    told = [
        message(level, n, {"on_hand": on_hand}, entity="stock_level")
        for n, on_hand in ((1, 10), (2, 7), (3, 5))
    ]
    await hand_in(db, company, told[0])
    insert = "select private.receive_changes(%s, 'erp', %s)"
    async with open_transaction(other):
        await other.execute(
            "select set_config('request.jwt.claims', %s, true)",
            (f'{{"role": "authenticated", "sub": "{company.owner}"}}',),
        )
        await other.execute(insert, (company.tenant_id, Jsonb([told[1]])))
        async with in_background(hand_in(db, company, told[2])) as waiting:
            await waits_for_a_lock(third, db)
            await other.commit()
    assert waiting.result() == ["queued"]
    deltas = await column(db, "select edit #> '{on_hand,delta}' from public.sync_changes order by seq")
    assert deltas == [-3, -2]


async def test_stamps_of_a_sender_grow_whatever_its_clock_says(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    for version, at in (
        (1, "2026-11-20T10:00:00Z"),
        (2, "2026-11-20T09:00:00Z"),
        (3, "2099-01-01T00:00:00Z"),
    ):
        await hand_in(db, company, message(product, version, {"name": str(version)}, occurred_at=at))
    stamps = await column(db, "select stamp from public.sync_changes order by seq")
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == 3
    now = await value(db, "select floor(extract(epoch from private.now()) * 1000)::bigint")
    assert int(stamps[2][:13]) <= now, "no future"


async def test_what_was_refused_is_no_last_word(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await hand_in(db, company, message(product, 1, {"name": "Shirt", "attributes": {}}))
    keys = {f"k{n}": n for n in range(201)}
    assert await hand_in(db, company, message(product, 2, {"name": "Boot", "attributes": keys})) == [
        "rejected"
    ]
    assert await hand_in(db, company, message(product, 3, {"name": "Boot", "attributes": {}})) == ["queued"]
    assert [edit for _, edit, _ in await rows(db, EDITS)] == [{"name": {"set": "Boot"}}]
    new = uuid.uuid4()
    await hand_in(db, company, message(new, 1, {"name": "No SKU"}))
    await work_off(db, company)
    await hand_in(db, company, message(new, 2, {"name": "No SKU", "sku": "BAG"}))
    assert (await rows(db, EDITS))[-1][0] == "insert", "the row was never made"


# -- who may, and what is none -------------------------------------------------------------------------------


async def test_whoever_hands_in_needs_the_permission_and_is_judged_by_theirs(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    it = message(product, 1, {"name": "Boot"}, occurred_at=None)
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        await hand_in(db, company, it, who=await add_member(db, company, "viewer"))
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await hand_in(db, company, it, who=(await found_company(db, "rival")).owner)
    key, clerk = await add_member(db, company, "integration"), await add_member(db, company, "clerk")
    await hand_in(db, company, it, who=key)
    sold = message(await stock_level(db, company, product), 1, {"on_hand": 5}, entity="stock_level")
    await hand_in(db, company, sold, who=clerk, source="shop")
    bag = await add_product(db, company, "BAG", name="Bag")
    told = message(bag, 1, {"name": "Bag"}), message(bag, 2, None)
    assert await hand_in(db, company, *told, who=key) == ["duplicate", "queued"]
    assert await work_off(db, company) == ["merged", "rejected"], "keys delete no products"
    for who, seen in ((key, 3), (clerk, 1), (company.owner, 4)):
        async with acting_as(db, who):
            assert await value(db, "select count(*) from public.inbox_messages") == seen


async def test_whoever_changes_no_products_cannot_silence_who_does(db: Connection, company: Company) -> None:
    """A number that no later message exceeds, or the ids that those will have, would."""
    product, clerk = await add_product(db, company), await add_member(db, company, "clerk")
    level = await stock_level(db, company, product)
    for body in ({}, {"name": "Boot"}, None):
        silent = message(product, 10**18 - 1, body, message_id="m-1")
        moved = message(level, 1, {"on_hand": 1}, entity="stock_level")
        with pytest.raises(psycopg.Error, match=r"access\.denied"):
            await hand_in(db, company, moved, silent, who=clerk)
    assert await value(db, "select count(*) from public.inbox_messages") == 0
    assert await value(db, "select count(*) from private.inbox_states") == 0
    told = message(product, 1, {"name": "Boot"}, message_id="m-1")
    assert await hand_in(db, company, told) == ["queued"]
    assert await hand_in(db, company, message(level, 2, {"on_hand": 1}, entity="stock_level"), who=clerk) == [
        "duplicate"
    ], "of stock they may speak"


@pytest.mark.parametrize(
    "other",
    [
        {"body": {"name": "Shoe"}},
        {"body": None},
        {"sender_version": 2},
        {"entity_id": str(uuid.uuid4())},
        {"entity": "stock_level", "body": {"on_hand": 1}},
    ],
)
async def test_an_id_stands_for_one_message(db: Connection, company: Company, other: dict[str, Any]) -> None:
    product = await add_product(db, company)
    one = message(product, 1, {"name": "Boot"}, message_id="m-1")
    await hand_in(db, company, one)
    fresh = message(product, 3, {"name": "Sock"})
    for told in ((fresh, one | other), (fresh, fresh | {"body": {"name": "Shoe"}})):
        with pytest.raises(psycopg.Error, match=r"sync\.message_id_reused"):
            await hand_in(db, company, *told)
    assert await column(db, "select message_id from public.inbox_messages") == ["m-1"], "all or nothing"
    assert await hand_in(db, company, one | {"occurred_at": None}) == ["(queued)"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"message_id": 7}, "message_id must be"),
        ({"message_id": "x" * 201}, "message_id must be"),
        ({"entity": "order"}, "entity must be"),
        ({"entity_id": "7"}, "entity_id must be"),
        ({"sender_version": "7"}, "sender_version must be"),
        ({"sender_version": -1}, "sender_version must be"),
        ({"occurred_at": "yesterday"}, "occurred_at must be"),
        ({"occurred_at": "infinity"}, "occurred_at must be"),
        ({"body": []}, "body must be"),
        ({"body": "x"}, "body must be"),
        ({"body": {"description": "x" * 140_000}}, "body is too large"),
        ({"body": {"attributes": []}}, "attributes must be"),
        ({"body": {"tenant_id": "x"}}, "no sender changes 'tenant_id'"),
        ({"body": {"on_hand": 1}}, "no sender changes 'on_hand'"),
        ({"entity": "stock_level", "body": None}, "cannot be deleted"),
        ({"entity": "stock_level", "body": {"on_hand": 1.5}}, "on_hand must be"),
        ({"entity": "stock_level", "body": {"on_hand": "1"}}, "on_hand must be"),
        ({"entity": "stock_level", "body": {"on_hand": None}}, "on_hand must be"),
    ],
)
async def test_what_is_no_message_is_refused_by_its_number(
    db: Connection, company: Company, broken: dict[str, Any], why: str
) -> None:
    good = message(await add_product(db, company), 1, {"name": "Boot"})
    with pytest.raises(psycopg.Error, match=r"sync\.message_invalid") as refused:
        await hand_in(db, company, good, good | {"message_id": "two"} | broken)
    assert why in str(refused.value.diag.message_detail)
    assert str(refused.value.diag.message_detail).startswith("Message 2: ")
    assert await value(db, "select count(*) from public.inbox_messages") == 0, "all or nothing"


async def test_a_call_has_bounds(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    many = [message(product, n, {"name": str(n)}) for n in range(1000)]
    assert len(await hand_in(db, company, *many)) == 1000
    with pytest.raises(psycopg.Error, match=r"sync\.messages_invalid"):
        await hand_in(db, company, *many, message(product, 1000, {}))
    for source in ("a b", "x" * 59):
        with pytest.raises(psycopg.Error, match=r"sync\.source_invalid"):
            await hand_in(db, company, many[0], source=source)


async def test_messages_are_forgotten_after_thirty_days_and_last_words_are_not(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    product = await add_product(db, company)
    await hand_in(db, company, message(product, 1, {"name": "Shirt"}))
    await move_clock(db, timedelta(days=29))
    await rename(db, product, "Boot")
    await rpc(db, "forget_changes")
    assert await value(db, "select count(*) from public.inbox_messages") == 1
    await move_clock(db, timedelta(days=2))
    await rpc(db, "forget_changes")
    assert await value(db, "select count(*) from public.inbox_messages") == 0
    assert await hand_in(db, company, message(product, 2, {"name": "Shirt"})) == ["duplicate"]
    assert await pending(db, company) == []


async def test_last_words_on_what_is_gone_are_dropped_after_thirty_days(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    kept, gone, never, waiting = await add_product(db, company), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    level = await stock_level(db, company, kept)
    body = {"sku": "BAG", "name": "Bag"}
    await hand_in(db, company, message(level, 1, {"on_hand": 1}, entity="stock_level"))
    await hand_in(db, company, message(kept, 1, {"name": "Shirt"}), message(gone, 1, body))
    await hand_in(db, company, message(never, 1, None))
    await work_off(db, company)
    await db.execute("delete from public.products where id = %s", (gone,))
    await hand_in(db, company, message(waiting, 1, body))
    known: LiteralString = "select entity_id from private.inbox_states order by entity_id"
    await move_clock(db, timedelta(days=29))
    await rpc(db, "forget_changes")
    assert await column(db, known) == sorted((level, kept, gone, never, waiting))
    await move_clock(db, timedelta(days=2))
    assert (await rpc(db, "forget_changes", p_limit=2))["more"]
    for _ in range(3):
        again = (await rpc(db, "forget_changes", p_limit=2))["more"]
    assert again is False, "what is kept is not looked at again and again"
    assert await column(db, known) == sorted((level, kept, waiting))
    assert await hand_in(db, company, message(gone, 2, body)) == ["rejected"], "it stays gone"
    assert await hand_in(db, company, message(kept, 2, {"name": "Shirt"})) == ["duplicate"]
    query = "select private.today() - looked_on from private.inbox_states where entity_id = %s"
    assert await value(db, query, kept) == 0


async def test_a_call_holds_eight_megabytes(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    told = [message(product, n, {"description": "x" * 100_000}) for n in range(84)]
    with pytest.raises(psycopg.Error, match=r"sync\.call_too_large") as refused:
        await hand_in(db, company, *told)
    assert refused.value.sqlstate == "PT413"
    assert await value(db, "select count(*) from public.inbox_messages") == 0
    assert len(await hand_in(db, company, *told[:80])) == 80
    edits = [change(product, {"description": {"set": "x" * 100_000}}) for _ in range(84)]
    with pytest.raises(psycopg.Error, match=r"sync\.call_too_large"):
        await push(db, company, *edits)
    assert len(await push(db, company, *edits[:80])) == 80
