"""Working off pushed changes: what a merge is told; and that writing is fenced, judged and settled."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import (
    Company,
    add_location,
    add_member,
    add_product,
    add_products,
    found_company,
    receive,
    rename,
    stock_line,
)
from tests.sql.dispatching import drain
from tests.sql.syncing import STAMP, apply, attempt, change, pending, push, settled, write

POLICY: LiteralString = (
    "insert into public.sync_policies (tenant_id, entity, field, policy) values (%s, %s, %s, %s)"
)

# -- what a merge is told --------------------------------------------------------------------------------


async def test_a_change_comes_with_the_row_the_base_and_what_was_written_between(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company, name="Shirt")
    await stop_clock(db)
    await rename(db, product, "Boot")
    await move_clock(db, timedelta(seconds=1))
    update = "update public.products set attributes = %s, name = 'Boots' where id = %s"
    await db.execute(update, ('{"color": "red", "size": 4}', product))
    await db.execute("update public.products set attributes = attributes - 'size' where id = %s", (product,))
    await push(db, company, change(product, {"name": {"set": "Bag"}}))
    [it] = await pending(db, company)
    assert (it["row"]["name"], it["row"]["version"], it["base"]["name"]) == ("Boots", 4, "Shirt")
    at = await value(db, "select floor(extract(epoch from at) * 1000)::bigint from private.test_clock")
    assert sorted(map(tuple, it["touched"])) == [
        ("attributes.color", 3, at),
        ("attributes.size", 4, at),
        ("name", 3, at),
    ]


async def test_what_a_client_wrote_itself_was_not_written_by_others(db: Connection, company: Company) -> None:
    """Two edits that it made while it was offline have one base, and do not conflict with each other."""
    product = await add_product(db, company)
    first, second = (change(product, {"price": {"set": price}}) for price in (12, 13))
    elsewhere = change(product, {"price": {"set": 14}})
    await push(db, company, first, second)
    await push(db, company, elsewhere, client="phone")
    held = await attempt(db)
    assert await apply(db, held, write(first), who=company.owner) == ["written"]
    [it] = await pending(db, company)
    assert (it["id"], it["row"]["price"], it["touched"], it["own"]) == (second["id"], 12, [], [first["edit"]])
    assert await apply(db, held, write(second, version=2), who=company.owner) == ["written"]
    [it] = await pending(db, company)
    assert (it["id"], [name for name, _, _ in it["touched"]]) == (elsewhere["id"], ["price"])


async def test_the_base_is_the_row_while_nothing_has_changed_and_null_when_nobody_knows_it(
    db: Connection, company: Company
) -> None:
    fresh, old, ahead = await add_products(db, company, 3)
    await rename(db, old, "Boot")
    await db.execute("delete from public.product_versions")
    edit = {"name": {"set": "Bag"}}
    await push(db, company, change(fresh, edit), change(old, edit), change(ahead, edit, base_version=9))
    found = {it["entity_id"]: it for it in await pending(db, company)}
    assert found[str(fresh)]["base"] == found[str(fresh)]["row"]
    assert found[str(old)]["base"] is found[str(ahead)]["base"] is None


async def test_what_is_not_the_tenant_s_is_not_there(db: Connection, company: Company) -> None:
    other = await found_company(db, "other")
    await push(
        db,
        company,
        change(await add_product(db, other), {"name": {"set": "Bag"}}),
        change(uuid.uuid4(), {"name": {"set": "x"}}),
    )
    assert [(it["row"], it["base"]) for it in await pending(db, company)] == [(None, None)] * 2
    assert await pending(db, other) == []


async def test_pages_go_in_the_order_of_pushing_and_a_tenant_s_policies_are_laid_over_the_defaults(
    db: Connection, company: Company
) -> None:
    products = await add_products(db, company, 5)
    pushed = [change(p, {"name": {"set": str(n)}}) for n in range(2) for p in products]
    await push(db, company, *pushed)
    first = await rpc(db, "read_changes", p_tenant_id=company.tenant_id, p_limit=3)
    rest = await rpc(db, "read_changes", p_tenant_id=company.tenant_id, p_after=first["after"], p_limit=100)
    assert (first["more"], rest["more"]) == (True, False)
    assert [it["id"] for it in first["changes"] + rest["changes"]] == [it["id"] for it in pushed[:5]]
    async with acting_as(db, company.owner):
        await db.execute(POLICY, (company.tenant_id, "product", "name", "manual"))
    told = (await rpc(db, "read_changes", p_tenant_id=company.tenant_id))["policies"]
    assert (told["product"]["name"], told["product"]["price"], told["product"]["*"]) == (
        "manual",
        "manual",
        "last_write",
    )
    assert told["stock_level"]["on_hand"] == "counter"


async def test_counters_are_the_ledger_s_and_nothing_else_s(db: Connection, company: Company) -> None:
    for entity, field, policy in (("product", "price", "counter"), ("stock_level", "on_hand", "last_write")):
        with pytest.raises(psycopg.errors.CheckViolation, match="sync_policies_counters"):
            await db.execute(POLICY, (company.tenant_id, entity, field, policy))


# -- writing ---------------------------------------------------------------------------------------------


async def test_what_is_written_is_settled_and_names_its_change_in_the_log(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    await db.execute('update public.products set attributes = \'{"a": 1, "b": 2}\' where id = %s', (product,))
    it = change(
        product,
        {"name": {"set": "Boot"}, "attributes.c": {"set": 3}, "attributes.a": {"set": None}},
        base_version=2,
    )
    await push(db, company, it)
    assert await apply(db, await attempt(db), write(it), who=company.owner) == ["written"]
    assert await settled(db, it) == ("applied", 3, None)
    assert await rows(db, "select name, attributes from public.products where id = %s", product) == [
        ("Boot", {"b": 2, "c": 3})
    ]
    await drain(db)
    assert (
        await value(
            db, "select command_id from public.events where entity = 'product' order by seq desc limit 1"
        )
        == it["id"]
    )
    assert await pending(db, company) == []


async def test_a_row_that_was_changed_meanwhile_is_read_again(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    it = change(product, {"name": {"set": "Boot"}})
    await push(db, company, it)
    await db.execute("update public.products set price = 3 where id = %s", (product,))
    held = await attempt(db)
    assert await apply(db, held, write(it), who=company.owner) == ["stale"]
    assert await settled(db, it) == ("pending", None, None)
    assert await apply(db, held, write(it, version=2), who=company.owner) == ["written"]


async def test_a_change_between_the_look_and_the_write_makes_it_stale(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    it = change(product, {"name": {"set": "Boot"}})
    await push(db, company, it)
    held = await attempt(db)
    async with open_transaction(other):
        await other.execute("update public.products set price = 3 where id = %s", (product,))
        async with in_background(apply(db, held, write(it), who=company.owner)) as applying:
            await waits_for_a_lock(third, db)
            await other.commit()
    assert applying.result() == ["stale"]
    assert await rows(db, "select name, price from public.products where id = %s", product) == [("Shirt", 3)]


async def test_a_lost_attempt_writes_nothing(db: Connection, company: Company) -> None:
    await stop_clock(db)
    it = change(await add_product(db, company), {"name": {"set": "Boot"}})
    await push(db, company, it)
    held = await attempt(db)
    await move_clock(db, timedelta(seconds=61))
    for lost in (held, str(uuid.uuid4())):
        with pytest.raises(psycopg.Error, match=r"sync\.attempt_lost"):
            await apply(db, lost, write(it), who=company.owner)
    assert await value(db, "select name from public.products") == "Shirt"
    again = await attempt(db)
    assert await apply(db, again, write(it), who=company.owner) == ["written"]
    twice = write(it, version=2, fields={"name": "Bag"})
    assert await apply(db, again, twice, who=company.owner) == ["gone"]
    assert await value(db, "select name from public.products") == "Boot"


async def test_nobody_settles_what_somebody_else_pushed(db: Connection, company: Company) -> None:
    manager = await add_member(db, company, "manager")
    it = change(await add_product(db, company), {"name": {"set": "Boot"}})
    await push(db, company, it, who=company.owner)
    assert await apply(db, await attempt(db), write(it), who=manager) == ["gone"]
    assert await value(db, "select name from public.products") == "Shirt"
    assert await settled(db, it) == ("pending", None, None)


async def test_the_permissions_of_whoever_pushed_decide(db: Connection, company: Company) -> None:
    clerk = await add_member(db, company, "clerk")
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 5)])
    level = await value(db, "select id from public.stock_levels")
    rename_it = change(product, {"name": {"set": "Boot"}})
    delete_it = change(await add_product(db, company, "BAG"), operation="delete")
    sell = change(level, {"on_hand": {"delta": -2}}, entity="stock_level")
    await push(db, company, rename_it, delete_it, sell, who=clerk)
    outcomes = await apply(db, await attempt(db), write(rename_it), write(delete_it), write(sell), who=clerk)
    assert outcomes == ["rejected", "rejected", "written"]
    assert [(await settled(db, it))[0::2] for it in (rename_it, delete_it, sell)] == [
        ("rejected", "access.denied"),
        ("rejected", "access.denied"),
        ("applied", None),
    ]
    assert await value(db, "select on_hand from public.stock_levels") == 3


async def test_each_is_written_for_itself_and_a_refusal_says_why(db: Connection, company: Company) -> None:
    one, two, three = await add_products(db, company, 3)
    bad = change(one, {"price": {"set": -1}})
    good = change(two, {"price": {"set": 12}})
    foreign = change(three, {"tenant_id": {"set": str(uuid.uuid4())}})
    said = change(three, {"on_hand": {"set": 1}})
    await push(db, company, bad, good, foreign, said)
    refused = write(said, error={"code": "sync.edit_refused", "detail": "on_hand is a counter."})
    outcomes = await apply(
        db, await attempt(db), write(bad), write(good), write(foreign), refused, who=company.owner
    )
    assert outcomes == ["rejected", "written", "rejected", "rejected"]
    assert (await settled(db, bad))[2] == "product.invalid"
    assert (await settled(db, foreign))[2] == "sync.field_unknown"
    assert (await settled(db, said))[2] == "sync.edit_refused"
    assert await column(db, "select price from public.products order by sku") == [0, 12, 0]


async def test_new_rows_deletions_and_restorations(db: Connection, company: Company) -> None:
    edit = {"sku": {"set": "BAG"}, "name": {"set": "Bag"}, "attributes.color": {"set": "red"}}
    new = change(uuid.uuid4(), edit, operation="insert", base_version=None)
    gone = change(await add_product(db, company), operation="delete")
    await push(db, company, new, gone)
    held = await attempt(db)
    assert await apply(db, held, write(new), write(gone), who=company.owner) == ["written", "written"]
    assert await settled(db, gone) == ("applied", 2, None)
    query = "select sku, name, status, attributes, currency from public.products where id = %s"
    assert await rows(db, query, new["entity_id"]) == [("BAG", "Bag", "draft", {"color": "red"}, "USD")]
    back = change(uuid.UUID(gone["entity_id"]), {"name": {"set": "Back"}})
    await push(db, company, back)
    assert await apply(db, held, write(back, restore=True, version=2), who=company.owner) == ["written"]
    assert await settled(db, back) == ("applied", 4, None)
    assert (
        await value(db, "select name from public.products where sku = 'SHIRT' and deleted_at is null")
        == "Back"
    )


async def test_decisions_and_stamps_are_kept_with_what_was_written(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    it = change(product, {"name": {"set": "Boot"}, "price": {"set": 3}})
    await push(db, company, it)
    decisions = [
        {
            "field": "name",
            "policy": "last_write",
            "base": "Shirt",
            "ours": "Bag",
            "theirs": "Boot",
            "winner": "theirs",
        },
        {"field": "price", "policy": "manual", "base": 0, "ours": 2, "theirs": 3, "winner": None},
    ]
    written = write(
        it, fields={"name": "Boot"}, status="conflict", decisions=decisions, stamps={"name": it["stamp"]}
    )
    assert await apply(db, await attempt(db), written, who=company.owner) == ["written"]
    assert await settled(db, it) == ("conflict", 2, None)
    query: LiteralString = (
        "select field, policy, base, ours, theirs, winner, decided_at is null"
        " from public.sync_conflicts order by field"
    )
    assert await rows(db, query) == [
        ("name", "last_write", "Shirt", "Bag", "Boot", "theirs", False),
        ("price", "manual", 0, 2, 3, None, True),
    ]
    await push(db, company, change(product, {"name": {"set": "x"}}))
    [next_one] = await pending(db, company)
    assert next_one["own"] == [it["edit"]]
    assert next_one["stamps"] == [["name", 2, it["stamp"]]]


async def test_a_stock_change_is_moved_once(db: Connection, company: Company) -> None:
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 5)])
    level = await value(db, "select id from public.stock_levels")
    it = change(level, {"on_hand": {"delta": -2}, "safety": {"set": 1}}, entity="stock_level")
    short = change(level, {"on_hand": {"delta": -9}}, entity="stock_level")
    await push(db, company, it, short)
    held = await attempt(db)
    version = await value(db, "select version from public.stock_levels")
    assert await apply(db, held, write(it, version=version), who=company.owner) == ["written"]
    await apply(db, held, write(it, version=version), who=company.owner)
    assert await rows(db, "select on_hand, safety from public.stock_levels") == [(3, 1)]
    assert await apply(db, held, write(short, version=None), who=company.owner) == ["rejected"]
    assert (await settled(db, short))[2] == "stock.insufficient"
    none = change(level, {"on_hand": {"delta": 0}}, entity="stock_level")
    await push(db, company, none)
    assert await apply(db, held, write(none, version=None), who=company.owner) == ["written"]
    assert await rows(db, "select on_hand from public.stock_levels") == [(3,)]
    assert (
        await value(db, "select reason from public.stock_movements order by created_at desc limit 1")
        == "sync"
    )


async def test_what_was_settled_long_ago_is_forgotten_but_for_what_waits(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    one, two, three = await add_products(db, company, 3)
    done, open_one, late = (change(each, {"name": {"set": "Boot"}}) for each in (one, two, three))
    await push(db, company, done, open_one)
    held = await attempt(db)
    waits = {"field": "price", "policy": "manual", "base": 0, "ours": 2, "theirs": 3, "winner": None}
    await apply(db, held, write(done, stamps={"name": done["stamp"]}), who=company.owner)
    await apply(db, held, write(open_one, status="conflict", decisions=[waits]), who=company.owner)
    await move_clock(db, timedelta(days=29))
    await push(db, company, late)
    assert await rpc(db, "forget_changes") == {"forgotten": 0, "more": False}
    await move_clock(db, timedelta(days=2))
    assert await rpc(db, "forget_changes", p_limit=1) == {"forgotten": 1, "more": True}
    assert await rpc(db, "forget_changes", p_limit=1) == {"forgotten": 0, "more": False}
    left = await column(db, "select id from public.sync_changes")
    assert {str(each) for each in left} == {open_one["id"], late["id"]}
    assert await value(db, "select count(*) from private.sync_stamps") == 0
    with pytest.raises(psycopg.Error, match=r"retention\.too_short"):
        await rpc(db, "forget_changes", p_keep_days=0)


async def test_what_is_renewed_while_it_is_to_be_forgotten_stays(
    db: Connection, other: Connection, company: Company
) -> None:
    """A delete that waits for its row deletes the renewed one."""
    product = await add_product(db, company)
    await db.execute(
        "insert into private.sync_stamps (entity_id, field, tenant_id, version, stamp, settled_at)"
        " values (%s, 'name', %s, 1, %s, private.now() - interval '31 days')",
        (product, company.tenant_id, STAMP),
    )
    await db.execute(
        "insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq, pulled_at)"
        " values (%s, %s, 'till', 'abc', 1, private.now() - interval '31 days')",
        (company.tenant_id, company.owner),
    )
    await db.execute("set lock_timeout = '5s'")
    async with open_transaction(other):
        await other.execute("update private.sync_stamps set settled_at = private.now()")
        await other.execute("update public.sync_clients set pulled_at = private.now()")
        assert (await rpc(db, "forget_changes"))["more"] is False
        await other.commit()
    assert await value(db, "select count(*) from private.sync_stamps") == 1
    assert await value(db, "select count(*) from public.sync_clients") == 1


async def test_what_a_client_did_to_a_level_itself_leaves_its_base_known(
    db: Connection, company: Company
) -> None:
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 5)])
    [(level, version)] = await rows(db, "select id, version from public.stock_levels")
    sell, limit = (
        change(level, edit, entity="stock_level", base_version=version)
        for edit in ({"on_hand": {"delta": -2}}, {"safety": {"set": 1}})
    )
    await push(db, company, sell, limit)
    await push(db, company, {**limit, "id": str(uuid.uuid4())}, client="phone")
    assert await apply(db, await attempt(db), write(sell), who=company.owner) == ["written"]
    [it] = await pending(db, company)
    assert (it["id"], it["base"]["safety"]) == (limit["id"], 0)
    await db.execute(
        "update public.sync_changes set status = 'applied', settled_at = now() where id = %s", (limit["id"],)
    )
    [it] = await pending(db, company)
    assert it["base"] is None, "to the phone it was somebody else"


async def test_a_change_of_a_level_that_wrote_nothing_hides_nobody_elses(
    db: Connection, company: Company
) -> None:
    """Else what somebody set meanwhile would be overwritten, and nobody had decided on it."""
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 5)])
    [(level, version)] = await rows(db, "select id, version from public.stock_levels")
    first, second = (
        change(level, {"safety": {"set": value}}, entity="stock_level", base_version=version)
        for value in (2, 3)
    )
    await push(db, company, first, second)
    await db.execute("update public.stock_levels set safety = 1 where id = %s", (level,))
    undecided = write(first, version=version + 1, action="none", fields={}, status="merged")
    assert await apply(db, await attempt(db), undecided, who=company.owner) == ["written"]
    assert await settled(db, first) == ("merged", version + 1, None)
    [it] = await pending(db, company)
    assert (it["id"], it["base"]) == (second["id"], None)


async def test_a_row_that_workers_cannot_read_is_left_out(db: Connection, company: Company) -> None:
    [deep] = await add_products(db, company, 1)
    # as deep as attributes may be, and so one too deep as part of a row
    attributes = '{"x": ' + "[" * 39 + "]" * 39 + "}"
    await db.execute("update public.products set attributes = %s where id = %s", (attributes, deep))
    await push(db, company, change(deep, {"name": {"set": "x"}}, base_version=2))
    assert [(it["unfit"], it["row"], it["base"]) for it in await pending(db, company)] == [(True, None, None)]


async def test_history_is_not_walked_without_end(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await db.execute(
        "do $$ begin for n in 1..501 loop update public.products set name = n::text; end loop; end $$"
    )
    await push(db, company, change(product, {"name": {"set": "x"}}), change(product, {"name": {"set": "y"}}))
    [it] = await pending(db, company)
    assert (it["base"], it["touched"]) == (None, [])
