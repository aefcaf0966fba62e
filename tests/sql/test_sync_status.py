"""How the sync of each client goes: right in the small, cheap in the large, and of one's own clients."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import rows, rpc, value
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
from tests.sql.plans import connect_for_bulk, pages
from tests.sql.syncing import apply, attempt, change, push, write
from tests.sql.test_sync_pull import begin, pull

State = dict[str, Any]
STATUS: LiteralString = "select to_jsonb(s) from public.sync_status(%s) s"
NAIVE: LiteralString = """
    select c.client, c.entity, max(c.pushed_at), count(*) filter (where c.status = 'pending'), (
      select count(*) from public.events e where e.tenant_id = c.tenant_id and e.entity = c.entity
    )
    from public.sync_changes c group by c.tenant_id, c.client, c.entity
"""

# 50,000 changes of 50 clients, 1,000 of them pending and 1,000 refused; 50,000 events that they lag behind.
FILL: LiteralString = """
    insert into public.sync_changes (id, tenant_id, principal_id, client, entity, entity_id, operation, edit,
      stamp, status, settled_at, error)
    select gen_random_uuid(), t.id, m.principal_id, 'till-' || n % 50, 'product', gen_random_uuid(), 'update',
      '{"name": {"set": "x"}}', '1764201600123-0000-till', s.status,
      case when s.status <> 'pending' then now() end,
      case when s.status = 'rejected' then '{"code": "product.invalid"}'::jsonb end
    from public.tenants t join public.memberships m on m.tenant_id = t.id, generate_series(1, 50000) n
    cross join lateral (
      select case n / 1000 when 48 then 'pending' when 49 then 'rejected' else 'applied' end as status
    ) s;
    insert into public.events (dispatched_on, tenant_id, seq, id, type, entity, entity_id, version,
      occurred_at, dispatched_at, body)
    select private.today(), t.id, n, 'evt_' || n, 'product.updated', 'product', gen_random_uuid(), 1,
      now(), now(), '{}'
    from public.tenants t, generate_series(100, 50100) n;
    insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq)
    select t.id, m.principal_id, 'till-' || n, e.epoch, 50100 - n * 1000
    from public.tenants t join public.memberships m on m.tenant_id = t.id, private.log_epoch e,
      generate_series(0, 49) n;
    update private.tenant_log set seq = 50100;
    analyze;
"""


async def status(
    db: Connection, company: Company, who: uuid.UUID | None = None
) -> dict[tuple[str, str], State]:
    """By client and entity."""
    async with acting_as(db, who or company.owner):
        found = [state for (state,) in await rows(db, STATUS, company.tenant_id)]
    return {(state["client"], state["entity"]): state for state in found}


async def level(db: Connection, company: Company) -> uuid.UUID:
    product, location = await add_product(db, company), await add_location(db, company)
    await receive(db, company, [stock_line(product, location, 5)])
    found: uuid.UUID = await value(db, "select id from public.stock_levels")
    return found


async def test_a_lag_is_what_the_log_has_of_an_entity_beyond_the_cursor(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    cursor = await begin(db, company)
    await level(db, company)
    await drain(db)
    await move_clock(db, timedelta(seconds=10))
    await add_products(db, company, 2)
    await drain(db)
    await move_clock(db, timedelta(seconds=5))
    page = await pull(db, company, cursor, p_client="till")
    await pull(db, company, page["cursor"], p_client="phone")
    found = await status(db, company)
    lags = {key: (state["lag_events"], state["lag_seconds"]) for key, state in found.items()}
    assert lags == {
        ("phone", "product"): (0, 0),
        ("phone", "stock_level"): (0, 0),
        ("till", "product"): (3, 15),
        ("till", "stock_level"): (2, 15),
    }
    await move_clock(db, timedelta(seconds=1))
    await rename(db, await value(db, "select id from public.products where sku = 'SKU-1'"), "Bag")
    await drain(db)
    await move_clock(db, timedelta(seconds=2))
    after = await status(db, company)
    assert [after["phone", "product"][name] for name in ("lag_events", "lag_seconds")] == [1, 2]
    assert [after["till", "product"][name] for name in ("lag_events", "lag_seconds")] == [4, 18]
    assert found["till", "product"]["principal_id"] == str(company.owner)


async def test_one_of_another_history_has_nothing(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await add_products(db, company, 3)
    await drain(db)
    page = await pull(db, company, cursor)
    await pull(db, company, page["cursor"], p_client="till")
    assert (await status(db, company))["till", "product"]["lag_events"] == 0
    await db.execute("update private.log_epoch set epoch = 'abc'")
    assert (await status(db, company))["till", "product"]["lag_events"] == 3
    assert (await rpc(db, "sync_health"))["lag_events"]["sum"] == 5


async def test_what_waits_and_what_was_refused_is_told_of_each_client(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    which = await level(db, company)
    one, two, three = await add_products(db, company, 3)
    bad, fine, open_one = (change(each, {"price": {"set": n}}) for n, each in enumerate((one, two, three)))
    sold = change(which, {"on_hand": {"delta": -1}}, entity="stock_level")
    await push(db, company, bad, fine, open_one)
    held = await attempt(db)
    waits = {"field": "price", "policy": "manual", "base": 0, "ours": 2, "theirs": 3, "winner": None}
    refused = write(bad, error={"code": "sync.edit_refused", "detail": "No."})
    await apply(db, held, refused, write(fine), who=company.owner)
    await apply(db, held, write(open_one, status="conflict", decisions=[waits]), who=company.owner)
    await move_clock(db, timedelta(seconds=9))
    await push(db, company, sold)
    await move_clock(db, timedelta(seconds=1))
    await push(db, company, change(one, {"name": {"set": "Bag"}}), client="phone")
    await move_clock(db, timedelta(seconds=2))
    found = await status(db, company)
    names = ("pending", "oldest_pending_seconds", "conflicts", "lag_events", "lag_seconds", "last_pulled_at")
    told = {key: [state[name] for name in names] for key, state in found.items()}
    assert told == {
        ("phone", "product"): [1, 2, 0, None, None, None],
        ("phone", "stock_level"): [0, 0, 0, None, None, None],
        ("till", "product"): [0, 0, 1, None, None, None],
        ("till", "stock_level"): [1, 3, 0, None, None, None],
    }
    error = found["till", "product"]["last_error"]
    assert (error["code"], error["detail"], error["change_id"]) == ("sync.edit_refused", "No.", bad["id"])
    assert error["at"]
    assert found["till", "stock_level"]["last_error"] is None
    assert found["phone", "stock_level"]["last_pushed_at"] is None
    assert found["till", "product"]["last_pushed_at"] < found["till", "stock_level"]["last_pushed_at"]


async def test_people_see_their_own_clients_and_managers_everybodys(db: Connection, company: Company) -> None:
    clerk, viewer = await add_member(db, company, "clerk"), await add_member(db, company, "viewer")
    manager, rival = await add_member(db, company, "manager"), await found_company(db, "rival")
    product = await add_product(db, company)
    await push(db, company, change(product, {"name": {"set": "Boot"}}), who=clerk, client="phone")
    await pull(db, company, None, who=clerk, p_client="phone-2")
    await pull(db, company, None, p_client="till")
    for who, seen in (
        (clerk, {"phone", "phone-2"}),
        (viewer, set()),
        (manager, {"phone", "phone-2", "till"}),
    ):
        assert {name for name, _ in await status(db, company, who)} == seen
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await status(db, company, rival.owner)
    assert await status(db, rival) == {}


async def test_a_look_stays_cheap_beside_50_000_changes_and_events(
    database: Database, db: Connection, company: Company
) -> None:
    bulk = await connect_for_bulk(database)
    await drain(db)
    await bulk.execute(FILL)
    await bulk.execute("vacuum analyze public.sync_changes")
    await bulk.execute(
        "update public.sync_clients set behind_since = now() - interval '1 h' where seq < 50100"
    )
    async with acting_as(db, company.owner):
        touched = await pages(db, STATUS, company.tenant_id)
    found = await status(db, company)
    assert len(found) == 100
    lags = [found[f"till-{n}", "product"]["lag_events"] for n in (0, 7, 10, 49)]
    assert lags == [0, 7000, 10_000, 10_000], "cut"
    assert found["till-49", "stock_level"]["lag_seconds"] >= 3600, "what it lacks may lie further back"
    assert found["till-0", "stock_level"]["lag_seconds"] == 0
    assert found["till-3", "product"]["last_error"]["code"] == "product.invalid"
    naive = await pages(db, NAIVE)
    assert touched < 3_000, (touched, naive)
    assert naive > 3 * touched, (touched, naive)


async def test_of_very_many_names_a_thousand_are_told(
    database: Database, db: Connection, company: Company
) -> None:
    bulk = await connect_for_bulk(database)
    await bulk.execute(
        "insert into public.sync_changes (id, tenant_id, principal_id, client, entity, entity_id, operation,"
        " edit, stamp) select gen_random_uuid(), t.id, m.principal_id, 'push-' || n, 'product',"
        " gen_random_uuid(), 'update', '{\"name\": {\"set\": \"x\"}}', '1764201600123-0000-till'"
        " from public.tenants t join public.memberships m on m.tenant_id = t.id, generate_series(1, 1500) n"
    )
    await bulk.execute(
        "insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq)"
        " select id, gen_random_uuid(), 'pull', 'abc', 0 from public.tenants, generate_series(1, 1500)"
    )
    async with acting_as(db, company.owner):
        told = await rows(
            db, "select distinct client, principal_id from public.sync_status(%s)", company.tenant_id
        )
    assert len([name for name, _ in told if name == "pull"]) == 1000
    assert len([name for name, _ in told if name != "pull"]) == 1000
