"""What changed since an answer was cached: what the log says, exactly; and reading one's own writes."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

import pytest

from tests.databases import Connection, Database
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.company import (
    Company,
    add_location,
    add_member,
    add_product,
    add_products,
    found_company,
    rename,
)
from tests.sql.inventory import add_shelf, reserve, settle
from tests.sql.keys import add_key, changed, manage, place
from tests.sql.ordering import open_shop, order_in

TAGS: dict[str, str] = {
    "product": "products", "category": "products", "product_image": "products",
    "stock_level": "stock", "reservation": "stock", "location": "stock",
    "order": "orders", "order_line": "orders",
}  # fmt: skip
EVENTS: LiteralString = """
select e.seq, e.entity, e.entity_id, e.body::jsonb #>> '{data,object,principal_id}',
  e.body::jsonb #>> '{data,object,kind}'
from public.events e where e.tenant_id = %s and e.seq > %s order by e.seq
"""


async def told_by_the_log(db: Connection, company: Company, after: int) -> dict[str, Any]:
    """The same, event by event."""
    tags: dict[str, int] = {}
    keys: dict[str, int] = {}
    for seq, entity, entity_id, principal, kind in await rows(db, EVENTS, company.tenant_id, after):
        if entity in TAGS:
            tags[TAGS[entity]] = seq
        elif entity == "api_key":
            keys[str(entity_id)] = seq
        elif entity == "membership" and kind == "api_key":
            keys[principal] = seq
    epoch, seq = await place(db, company)
    return {"epoch": epoch, "seq": seq, "tags": tags, "keys": keys}


Step = Callable[[], Awaitable[object]]


async def steps_of(db: Connection, company: Company) -> list[Step]:
    shelf = await add_shelf(db, company, 50)
    product = await add_product(db, company, "BOOT", "Boot")
    key, second = await add_key(db, company), await add_key(db, company, p_role="viewer")
    member = await add_member(db, company, "viewer")
    number = iter(range(10_000))

    async def hold_and_let_go() -> None:
        await settle(db, company, "release", await reserve(db, company, [shelf.line(1)]))

    async def change_member() -> None:
        role = random.choice(("clerk", "viewer"))
        await db.execute("update public.memberships set role = %s where principal_id = %s", (role, member))

    async def add_category() -> None:
        n = next(number)
        query = "insert into public.categories (tenant_id, name, slug) values (%s, %s, %s)"
        await db.execute(query, (company.tenant_id, f"C {n}", f"c-{n}"))

    return [
        lambda: rename(db, product, f"Boot {next(number)}"),
        lambda: add_location(db, company, f"L{next(number)}"),
        hold_and_let_go,
        change_member,
        add_category,
        lambda: manage(db, company, "change_api_key", key, p_changes={"name": f"Till {next(number)}"}),
        lambda: manage(db, company, "rotate_api_key", second, p_overlap="0"),
        lambda: rpc(db, "dispatch_outbox", p_limit=random.choice((1, 2, 2000))),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_what_changed_is_what_the_log_says_from_wherever_one_asks(
    db: Connection, company: Company, seed: int
) -> None:
    random.seed(seed)
    steps = await steps_of(db, company)
    epoch, _ = await place(db, company)
    for _ in range(25):
        await random.choice(steps)()
        _, seq = await place(db, company)
        for after in {0, seq, random.randint(0, seq), max(0, seq - 1)}:
            assert await changed(db, company, epoch, after) == await told_by_the_log(db, company, after)


async def test_an_order_is_of_orders_and_its_stock_of_stock(db: Connection, company: Company) -> None:
    shop = await open_shop(db, company)
    epoch, after = await place(db, company, wait=True)
    await order_in(db, shop, "shipped")
    await rpc(db, "dispatch_outbox")
    answer = await changed(db, company, epoch, after)
    assert answer["tags"].keys() >= {"orders", "stock"}
    assert answer == await told_by_the_log(db, company, after)


# What one would ask instead. Both miss what the log has: rows that are gone, and a transaction that began
# before the moment that one knows, and ended after it.
BY_UPDATED_AT: LiteralString = "select count(*) from public.products where updated_at > %s"
BY_OUTBOX: LiteralString = "select count(*) from private.outbox where entity = 'product' and id > %s"


async def test_looking_at_updated_at_or_at_the_outbox_misses_changes_that_the_log_has(
    db: Connection, other: Connection, company: Company
) -> None:
    product, gone = await add_product(db, company, "A"), await add_product(db, company, "B")
    epoch, after = await place(db, company, wait=True)
    async with open_transaction(other):
        await rename(other, product, "Slow")
        await rename(db, gone, "Fast")
        moment = await value(db, "select max(updated_at) from public.products")
        newest = await value(db, "select max(id) from private.outbox")
        await other.commit()
    assert await value(db, BY_UPDATED_AT, moment) == 0, "the slow one was stamped before"
    assert await value(db, BY_OUTBOX, newest) == 0, "and numbered before"
    await rpc(db, "dispatch_outbox")
    _, first = await place(db, company)
    assert (await changed(db, company, epoch, after))["tags"] == {"products": first}
    await db.execute("delete from public.products where id = %s", (gone,))
    await rpc(db, "dispatch_outbox")
    assert await value(db, BY_UPDATED_AT, moment) == 0
    assert await value(db, BY_OUTBOX, 0) == 0, "what was dispatched left it"
    assert (await changed(db, company, epoch, first))["tags"] == {"products": first + 1}


@pytest.mark.parametrize("known", ["another epoch", "nothing", "ahead", "forgotten"])
async def test_where_the_log_does_not_reach_everything_changed(
    db: Connection, company: Company, known: str
) -> None:
    key, ended = await add_key(db, company), await add_key(db, company)
    await manage(db, company, "revoke_api_key", ended)
    await add_products(db, company, 3)
    epoch, seq = await place(db, company, wait=True)
    cases: dict[str, tuple[str | None, int | None]] = {
        "another epoch": ("0123456789ab", seq),
        "nothing": (None, None),
        "ahead": (epoch, seq + 1),
        "forgotten": (epoch, 1),
    }
    if known == "forgotten":
        await db.execute("delete from public.events where seq <= 5")
    assert await changed(db, company, *cases[known]) == {
        "epoch": epoch,
        "seq": seq,
        "tags": {"products": seq, "stock": seq, "orders": seq},
        "keys": {str(key.id): seq, str(ended.id): seq},
    }


async def test_of_another_tenant_nothing_is_told(db: Connection, company: Company) -> None:
    stranger = await found_company(db, "other")
    await add_product(db, company)
    await add_key(db, company)
    epoch, _ = await place(db, stranger, wait=True)
    assert await changed(db, stranger, epoch, 0) == {"epoch": epoch, "seq": 2, "tags": {}, "keys": {}}


async def test_waiting_for_the_log_reads_ones_own_writes(db: Connection, company: Company) -> None:
    epoch, before = await place(db, company, wait=True)
    product = await add_product(db, company)
    assert await place(db, company) == (epoch, before), "without waiting one may be early"
    assert await place(db, company, wait=True) == (epoch, before + 1)
    for n in range(20):
        await rename(db, product, f"Shirt {n}")
        assert (await place(db, company, wait=True))[1] == before + 2 + n


async def test_waiting_meets_a_dispatch_that_has_the_write_in_hand(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    """Its row is gone from the outbox only when its event is in the log."""
    await add_product(db, company)
    async with open_transaction(other):
        await rpc(other, "dispatch_outbox")
        async with in_background(place(db, company, wait=True)) as waiting:
            await waits_for_a_lock(third, db)
            assert not waiting.done()
            await other.commit()
        assert waiting.result()[1] == await value(third, "select max(seq) from public.events")


async def test_many_writers_that_wait_each_find_their_own_write(
    db: Connection, database: Database, company: Company
) -> None:
    products = await add_products(db, company, 8)
    sessions = [await database.connect() for _ in products]

    async def write(session: Connection, product: uuid.UUID) -> None:
        for n in range(10):
            await rename(session, product, f"{product} {n}")
            _, seq = await place(session, company, wait=True)
            query = "select max(seq) from public.events where entity_id = %s"
            assert seq >= await value(session, query, product)
            last = "select body::jsonb #>> '{data,object,name}' from public.events where entity_id = %s"
            assert f"{product} {n}" in await column(session, last, product)

    await asyncio.gather(*(write(*pair) for pair in zip(sessions, products, strict=True)))


async def test_waiting_is_not_for_what_others_write(db: Connection, company: Company) -> None:
    """Of somebody else's import it needs no slice."""
    stranger = await found_company(db, "other")
    known = await place(db, company, wait=True)
    await rpc(db, "dispatch_outbox")
    await add_products(db, stranger, 100)
    assert await place(db, company, wait=True) == known
    assert await value(db, "select count(*) from private.outbox") == 100


async def test_a_log_that_is_far_behind_is_dispatched_slice_by_slice_each_committed(
    db: Connection, other: Connection, company: Company
) -> None:
    """A call that did all of it would lose all of it to a time limit, and all tenants wait for its lock."""
    ask = {"p_tenant_id": company.tenant_id, "p_wait": True}
    await add_products(db, company, 3000)
    first = await rpc(db, "log_seq", **ask)
    assert (first["through"], first["seq"]) == (False, 2000)
    assert (await place(other, company))[1] == 2000, "what was done stands"
    await add_products(db, company, 10, prefix="LATER")
    second = await rpc(db, "log_seq", **ask, p_until=first["until"])
    assert (second["through"], second["until"]) == (True, None)
    third = await rpc(db, "log_seq", **ask, p_until=first["until"])
    assert third == second, "what came later is not waited for"


async def test_waiting_does_not_read_what_dispatch_has_done(db: Connection, company: Company) -> None:
    """Deleted entries stay while a session holds xmin: without the mark each look walks them all."""
    for n in range(300):
        await add_products(db, company, 1, prefix=f"P{n}-")
    await place(db, company, wait=True)
    mark = await value(db, "select mark::text::bigint from private.dispatch_mark")
    assert mark > await value(db, "select pg_current_xact_id()::text::bigint") - 300
    assert await value(db, "select private.dispatch_mark()::text::bigint") == mark
    for n in range(20):
        await add_products(db, company, 1, prefix=f"Q{n}-")
        await place(db, company, wait=True)
    assert await value(db, "select mark::text::bigint from private.dispatch_mark") == mark, "not each time"


@pytest.mark.parametrize("wrong", ["mark = '9000000000'", "epoch = 'before'"])
async def test_a_mark_from_before_a_restore_hides_nothing(
    db: Connection, company: Company, wrong: LiteralString
) -> None:
    """After a restore ids of transactions begin lower, and soon reach the old mark: the epoch is another."""
    await place(db, company, wait=True)
    await add_product(db, company)
    ahead = b"update private.dispatch_mark set mark = pg_current_xact_id()::text::xid8"
    await db.execute(ahead + b", epoch = (select epoch from private.log_epoch)")
    await db.execute(f"update private.dispatch_mark set {wrong}".encode())
    before = (await place(db, company))[1]
    assert (await place(db, company, wait=True))[1] == before + 1
