"""Dispatch: from the outbox to the log, everything once, in order, numbered without a gap."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import uuid
from collections import defaultdict

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, told, value, waits_for_a_lock
from tests.sql.company import (
    Company,
    add_endpoint,
    add_location,
    add_product,
    add_products,
    found_company,
    receive,
    rename,
    stock_line,
)
from tests.sql.dispatching import LOG, drain


async def test_the_log_is_numbered_without_a_gap_per_tenant(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    for round_ in range(3):
        await add_products(db, company, 3, f"A{round_}")
        await add_products(db, rival, 2, f"B{round_}")
        await drain(db, limit=4)
    for tenant, products in ((company, 9), (rival, 6)):
        seqs = await column(db, LOG, tenant.tenant_id)
        assert seqs == list(range(1, products + 3)), "the tenant and its owner's membership come first"
        assert await value(
            db, "select seq from private.tenant_log where tenant_id = %s", tenant.tenant_id
        ) == len(seqs)
    assert await value(db, "select count(*) from private.outbox") == 0


async def test_concurrent_writers_slow_commits_and_rollbacks_lose_nothing(
    database: Database, db: Connection, company: Company
) -> None:
    products = await add_products(db, company, 4)
    await drain(db)
    start = await value(db, "select max(seq) from public.events where tenant_id = %s", company.tenant_id)
    writing = asyncio.Event()
    kept = 0

    async def write(number: int) -> None:
        nonlocal kept
        session = await database.connect()
        for step in range(12):
            await session.execute("begin")
            await rename(session, products[(number + step) % len(products)], f"{number}.{step}")
            if (number + step) % 5 == 0:
                await session.execute("rollback")
            else:
                if step % 4 == number % 4:  # a slow one: the dispatcher gets several looks in between
                    for _ in range(3):
                        await value(other, "select count(*) from private.outbox")
                await session.execute("commit")
                kept += 1

    async def dispatch() -> None:
        session, mark = await database.connect(), "0"
        while not writing.is_set():
            mark = (await rpc(session, "dispatch_outbox", p_limit=7, p_mark=mark))["mark"]

    other = await database.connect()
    dispatchers = [asyncio.create_task(dispatch()) for _ in range(2)]
    await asyncio.gather(*(write(number) for number in range(6)))
    writing.set()
    await asyncio.gather(*dispatchers)
    await drain(db)

    log = await rows(
        db,
        "select seq, entity_id, version from public.events where tenant_id = %s and seq > %s order by seq",
        company.tenant_id,
        start,
    )
    assert [seq for seq, _, _ in log] == list(range(start + 1, start + kept + 1))
    versions: dict[uuid.UUID, list[int]] = defaultdict(list)
    for _, entity, version in log:
        versions[entity].append(version)
    for product, seen in versions.items():
        stored = await value(db, "select version from public.products where id = %s", product)
        assert seen == list(range(2, stored + 1)), "each version once, in order"


async def test_callers_that_wait_for_each_other_dispatch_nothing_twice(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    await add_products(db, company, 5)
    async with open_transaction(db):
        await rpc(db, "dispatch_outbox")
        async with in_background(rpc(other, "dispatch_outbox")) as waiting:
            await waits_for_a_lock(third, other)
            await db.commit()
        assert waiting.result()["events"] == 0
    assert await value(db, "select count(*) from public.events") == 7


async def test_a_body_is_the_contract_to_the_byte(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name='Tee "Æ" — 半袖')
    async with acting_as(db, company.owner):
        await db.execute("update public.products set price = 12.5, name = 'Tee' where id = %s", (product,))
    await drain(db)
    texts = await rows(
        db,
        "select id, seq, body from public.events where entity_id = %s order by seq",
        product,
    )
    (_, _, created_text), (event_id, seq, text) = texts
    created, updated = json.loads(created_text), json.loads(text)
    assert list(updated) == ["id", "type", "timestamp", "tenant_id", "seq", "schema", "data"]
    assert list(updated["data"]) == ["object", "previous", "changed", "version"]
    assert event_id.startswith("evt_")
    assert updated["id"] == event_id
    assert updated["type"] == "product.updated"
    assert updated["tenant_id"] == str(company.tenant_id)
    assert (updated["seq"], updated["schema"], updated["data"]["version"]) == (seq, 1, 2)
    assert updated["data"]["changed"] == ["name", "price"]
    assert updated["data"]["previous"] == {"name": 'Tee "Æ" — 半袖', "price": 0}
    stored = await value(db, "select to_jsonb(p) from public.products p where id = %s", product)
    assert updated["data"]["object"] == stored
    assert dt.datetime.fromisoformat(updated["timestamp"]).utcoffset() == dt.timedelta(0)
    assert created["data"]["changed"] == []
    assert created["data"]["previous"] is None
    assert created["data"]["object"]["name"] == 'Tee "Æ" — 半袖'


async def test_webhooks_are_given_the_very_bytes_of_the_log(db: Connection, company: Company) -> None:
    await add_endpoint(db, company)
    await add_product(db, company, name='Ünïcode \\ "quoted" \u2028')
    await drain(db)
    token = (await rpc(db, "lease_lanes", p_worker="w"))["token"]
    answer = await told(db, "worker", "read_lanes", p_token=token, p_after=0, p_limit=10)
    read = [str(delivery["event_id"]) for delivery in json.loads(answer)["deliveries"]]
    assert len(read) == 2
    bodies = dict(await rows(db, "select id, body from public.events"))
    for event in read:
        assert f',"body":{bodies[event]}}}' in answer


async def test_a_row_says_who_changed_it_when_and_by_which_command(db: Connection, company: Company) -> None:
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 3)], "key-1")
    await drain(db)
    log = "select actor, command_id, occurred_at <= dispatched_at from public.events"
    assert await rows(db, log + " where entity = 'stock_level'") == [(company.owner, "key-1", True)] * 2
    assert await value(db, "select actor from public.events where type = 'product.created'") is None


async def test_a_delete_carries_the_version_after_the_last(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await rename(db, product, "Longer")
    await db.execute("delete from public.products where id = %s", (product,))
    await drain(db)
    log = await rows(
        db,
        "select type, version, body::jsonb -> 'data' from public.events where entity_id = %s order by seq",
        product,
    )
    assert [(type_, version) for type_, version, _ in log] == [
        ("product.created", 1),
        ("product.updated", 2),
        ("product.deleted", 3),
    ]
    assert log[2][2]["object"]["name"] == "Longer"
    assert log[2][2]["previous"] is None


async def test_marking_as_deleted_is_a_deletion_and_taking_it_back_a_restoration(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    await db.execute("update public.products set deleted_at = now(), name = 'Gone' where id = %s", (product,))
    await rename(db, product, "Still gone")
    await db.execute("update public.products set deleted_at = null where id = %s", (product,))
    await drain(db)
    types = await column(db, "select type from public.events where entity_id = %s order by seq", product)
    assert types == ["product.created", "product.deleted", "product.updated", "product.restored"]


async def test_a_change_that_the_map_does_not_know_leaves_no_gap(db: Connection, company: Company) -> None:
    await db.execute(
        "delete from private.event_map where entity = 'product' and operation = 'UPDATE' and rank = 9"
    )
    product = await add_product(db, company)
    await rename(db, product, "Unmapped")
    await db.execute("delete from public.products where id = %s", (product,))
    answer = await rpc(db, "dispatch_outbox")
    assert (answer["events"], answer["drained"]) == (4, True)
    assert await column(db, LOG, company.tenant_id) == [1, 2, 3, 4]
    assert await value(db, "select count(*) from private.outbox") == 0


async def test_only_what_may_leave_reaches_endpoints(db: Connection, company: Company) -> None:
    everything = await add_endpoint(db, company)
    created = await add_endpoint(db, company, events=("product.created",))
    places = await add_endpoint(db, company, events=("location.*",))
    off = await add_endpoint(db, company)
    await db.execute("update public.webhook_endpoints set status = 'disabled' where id = %s", (off["id"],))
    rival = await found_company(db, "rival")
    await add_product(db, rival)
    product = await add_product(db, company)
    await rename(db, product, "Other")
    await add_location(db, company)
    await drain(db)
    owed = await rows(
        db,
        "select d.lane_id, e.type from queue.deliveries d"
        " join public.events e using (tenant_id, seq, dispatched_on) order by d.id",
    )
    lanes = defaultdict(list)
    for lane, type_ in owed:
        lanes[lane].append(type_)
    assert lanes == {
        everything["lane_id"]: ["tenant.created", "product.created", "product.updated", "location.created"],
        created["lane_id"]: ["product.created"],
        places["lane_id"]: ["location.created"],
    }


async def test_a_write_that_changes_nothing_makes_no_event(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    await drain(db)
    await rename(db, product, "Shirt")
    await rename(db, uuid.uuid4(), "Nobody")
    await db.execute("delete from public.products where sku = 'none'")
    assert await value(db, "select count(*) from private.outbox") == 0


async def test_truncate_is_refused(db: Connection, company: Company) -> None:
    await add_product(db, company)
    with pytest.raises(psycopg.Error, match=r"truncate\.refused"):
        await db.execute("truncate public.products cascade")
    assert await value(db, "select count(*) from public.products") == 1


async def test_repeatable_read_is_refused(db: Connection, company: Company) -> None:
    async with open_transaction(db, "repeatable read"):
        with pytest.raises(psycopg.Error, match=r"dispatch\.isolation"):
            await rpc(db, "dispatch_outbox")


async def test_todays_partition_is_made_when_it_is_missing(db: Connection, company: Company) -> None:
    for name in await column(
        db, "select inhrelid::regclass::text from pg_inherits where inhparent = 'public.events'::regclass"
    ):
        await db.execute(psycopg.sql.SQL("drop table {}").format(psycopg.sql.SQL(name)))
    answer = await rpc(db, "dispatch_outbox")
    assert answer["events"] == 2
    made = await rows(
        db,
        "select c.relnamespace::regnamespace::text, c.relrowsecurity,"
        " has_table_privilege('anon', c.oid, 'select'), has_table_privilege('service_role', c.oid, 'select')"
        " from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'public.events'::regclass",
    )
    assert made == [("private", True, False, False)]


async def test_the_last_delivery_id_covers_what_was_queued(db: Connection, company: Company) -> None:
    assert (await rpc(db, "dispatch_outbox"))["last_delivery_id"] == 0
    await add_endpoint(db, company)
    answer = await rpc(db, "dispatch_outbox")
    assert (answer["endpoints"], answer["deliveries"]) == (1, 0), "an endpoint's own events stay inside"
    await add_product(db, company)
    answer = await rpc(db, "dispatch_outbox")
    assert answer["last_delivery_id"] == await value(db, "select max(id) from queue.deliveries")
