"""Events of tenants with many endpoints: queued part by part, each once, in order; others do not wait."""

from __future__ import annotations

import uuid

import pytest

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.company import Company, add_endpoint, add_product, found_company, rename
from tests.sql.lane_worker import PENDING

WIDE = 5


@pytest.fixture
async def wide(db: Connection) -> Company:
    """A company with more endpoints than fit one slice, as far as this clone is concerned."""
    await db.execute(
        f"create or replace function private.wide_tenant() returns integer language sql immutable"
        f" set search_path = '' as $$ select {WIDE} $$"
    )
    company = await found_company(db)
    await add_endpoints(db, company, 12)
    await rpc(db, "dispatch_outbox")
    return company


async def add_endpoints(db: Connection, company: Company, count: int) -> None:
    await db.execute(
        "insert into public.webhook_endpoints (tenant_id, url, events)"
        " select %s, 'https://example.com/' || n, '{product.*}' from generate_series(1, %s) n",
        (company.tenant_id, count),
    )


async def fan_out_in_parts(db: Connection, size: int) -> None:
    """From now on a call queues no more than `size` lanes' deliveries."""
    definition = str(await value(db, "select pg_get_functiondef('worker.dispatch_outbox'::regproc)"))
    assert definition.count("private.fan_out(2500)") == 1
    await db.execute(definition.replace("private.fan_out(2500)", f"private.fan_out({size})").encode())


async def test_an_event_is_queued_part_by_part_for_every_endpoint_once(db: Connection, wide: Company) -> None:
    await fan_out_in_parts(db, 5)
    await add_product(db, wide)
    answers = [await rpc(db, "dispatch_outbox")]
    while not answers[-1]["drained"]:
        answers.append(await rpc(db, "dispatch_outbox"))
    assert [answer["deliveries"] for answer in answers] == [5, 5, 2]
    assert [answer["events"] for answer in answers] == [1, 0, 0]
    lanes = await column(db, "select lane_id from queue.deliveries order by id")
    assert lanes == await column(db, "select id from queue.lanes order by id")
    assert await column(db, "select tenant_id from queue.fan_outs") == []


async def test_later_events_line_up_so_that_every_lane_keeps_its_order(db: Connection, wide: Company) -> None:
    await fan_out_in_parts(db, 5)
    product = await add_product(db, wide)
    await rpc(db, "dispatch_outbox")
    for name in ("Second", "Third"):
        await rename(db, product, name)
        await rpc(db, "dispatch_outbox")
    while not (await rpc(db, "dispatch_outbox"))["drained"]:
        pass
    orders = await rows(db, "select array_agg(seq order by id) from queue.deliveries group by lane_id")
    assert len(orders) == 12
    assert all(order == sorted(order) and len(order) == 3 for (order,) in orders)


async def test_another_tenants_event_is_queued_at_once(db: Connection, wide: Company) -> None:
    await fan_out_in_parts(db, 1)
    await add_product(db, wide)
    await rpc(db, "dispatch_outbox")
    other = await found_company(db, "rival")
    endpoint = await add_endpoint(db, other, events=("product.*",))
    await rpc(db, "dispatch_outbox")
    await add_product(db, other)
    assert not (await rpc(db, "dispatch_outbox"))["drained"]
    owed = "select count(*) from queue.deliveries where lane_id = %s"
    assert await value(db, owed, endpoint["lane_id"]) == 1


async def test_an_endpoint_made_meanwhile_gets_later_events_only(db: Connection, wide: Company) -> None:
    await fan_out_in_parts(db, 5)
    await add_product(db, wide, "BEFORE")
    await rpc(db, "dispatch_outbox")
    await add_endpoints(db, wide, 1)
    await add_product(db, wide, "AFTER")
    while not (await rpc(db, "dispatch_outbox"))["drained"]:
        pass
    last = "select count(*) from queue.deliveries where lane_id = (select max(id) from queue.lanes)"
    assert await value(db, last) == 1
    assert len(await column(db, PENDING)) == 12 + 13


async def test_filters_and_disabled_endpoints_count_as_in_one_piece(db: Connection, wide: Company) -> None:
    await db.execute("update public.webhook_endpoints set events = '{order.*}' where url like '%%/1_'")
    await db.execute("update public.webhook_endpoints set status = 'disabled' where url like '%%/2'")
    await rpc(db, "dispatch_outbox")
    await add_product(db, wide)
    while not (await rpc(db, "dispatch_outbox"))["drained"]:
        pass
    owed = await column(
        db,
        "select e.url from queue.deliveries d join queue.lanes l on l.id = d.lane_id"
        " join public.webhook_endpoints e on e.id = l.endpoint_id order by e.url",
    )
    assert owed == [f"https://example.com/{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)]


async def test_what_a_crash_cuts_off_is_gone_on_with(db: Connection, wide: Company) -> None:
    await fan_out_in_parts(db, 5)
    await add_product(db, wide)
    await db.execute("begin")
    await rpc(db, "dispatch_outbox")
    await db.execute("rollback")
    await rpc(db, "dispatch_outbox")
    await db.execute("begin")
    await rpc(db, "dispatch_outbox")
    await db.execute("rollback")
    while not (await rpc(db, "dispatch_outbox"))["drained"]:
        pass
    assert len(await column(db, PENDING)) == 12


async def test_the_id_of_an_event_tells_its_number(db: Connection, wide: Company) -> None:
    await add_product(db, wide)
    await rpc(db, "dispatch_outbox")
    found = await rows(db, "select id, seq, private.seq_of_event(id) from public.events")
    assert found
    assert all(seq == told and len(event_id) == 36 for event_id, seq, told in found)
    assert len({event_id for event_id, *_ in found}) == len(found)
    assert await value(db, "select private.seq_of_event(%s)", f"evt_{uuid.uuid4()}") is None
