"""Query plans at 50,000 rows and more: what must be cheap touches few pages, whatever lies beside it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import LiteralString

import pytest
import pytest_asyncio

from tests.databases import Connection, Database, acting_as, add_user, cloned_database
from tests.sql.ask import column, open_transaction, rows, rpc, value
from tests.sql.company import Company, add_products, found_company
from tests.sql.lane_worker import LaneWorker
from tests.sql.plans import connect_for_bulk, explain_all, most_looked_at, nodes, pages

DISPATCH: LiteralString = "select worker.dispatch_outbox(2000, %s)"
READ: LiteralString = "select worker.read_lanes(%s, %s, 500)"
CLAIM: LiteralString = "select worker.claim_jobs('w', '{images.fetch}', 20)"
ASKED: LiteralString = "select pg_stat_get_xact_function_calls('private.tenants_with(text)'::regprocedure)"

# 300,000 entries that another session's snapshot will keep when they are deleted.
FILL_OUTBOX: LiteralString = """
    insert into private.outbox (tenant_id, entity, entity_id, operation, version, occurred_at)
    select gen_random_uuid(), 'product', gen_random_uuid(), 'UPDATE', 1, now() from generate_series(1, 300000)
"""

# 100 lanes with 50,000 first attempts, and 50,000 retries that are due tomorrow.
FILL_LANES: LiteralString = """
    insert into public.webhook_endpoints (tenant_id, url)
    select t.id, 'https://example.com/' || n from public.tenants t, generate_series(1, 100) n;
    insert into queue.lanes (endpoint_id, tenant_id) select id, tenant_id from public.webhook_endpoints;
    insert into public.events (dispatched_on, tenant_id, seq, id, type, entity, entity_id, version,
      occurred_at, dispatched_at, body)
    select private.today(), t.id, n, 'evt_' || n, 'product.created', 'product', gen_random_uuid(), 1,
      now(), now(), '{}'
    from public.tenants t, generate_series(1, 50000) n;
    insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
    select 1 + n % 100, t.id, n, private.today() from public.tenants t, generate_series(1, 50000) n;
    insert into queue.retries (id, lane_id, tenant_id, seq, dispatched_on, attempt, due_at, expires_at)
    select 100000 + n, 1 + n % 100, t.id, n, private.today(), 2, now() + '1 day', now() + '3 days'
    from public.tenants t, generate_series(1, 50000) n;
    analyze;
"""

# 50,000 jobs for tomorrow, and 20,000 that are buried.
FILL_JOBS: LiteralString = """
    insert into queue.jobs (kind, due_at)
    select 'images.fetch', now() + '1 day' from generate_series(1, 50000);
    insert into queue.jobs (kind, state, due_at)
    select 'images.fetch', 'buried', now() - interval '1 day' from generate_series(1, 20000);
    analyze queue.jobs;
"""


# -- policies ------------------------------------------------------------------------------------------------


async def test_a_policy_asks_once_and_finds_its_rows_by_index(database: Database, db: Connection) -> None:
    """50,000 products of 100 tenants, of which the caller belongs to two."""
    bulk = await connect_for_bulk(database)
    tenants = await column(
        bulk,
        "insert into public.tenants (slug, name)"
        " select 'tenant-' || n, 'T' from generate_series(1, 100) n returning id",
    )
    await bulk.execute(
        "insert into public.products (tenant_id, sku, name)"
        " select t.id, 'SKU-' || n, 'Product' from public.tenants t, generate_series(1, 500) n"
    )
    person = await add_user(db)
    await bulk.execute(
        "insert into public.memberships (tenant_id, principal_id, role)"
        " select unnest(%s::uuid[]), %s, 'viewer'",
        (tenants[:2], person),
    )
    await bulk.execute("analyze public.products, public.memberships")
    await bulk.execute("set track_functions = 'all'")
    query: LiteralString = "select id, name from public.products"
    async with acting_as(bulk, person):
        assert len(await rows(bulk, query)) == 1000
        assert await value(bulk, ASKED) == 1
        scans = [node for node in await nodes(bulk, query) if node.get("Relation Name") == "products"]
        assert [node["Node Type"] for node in scans] in (["Bitmap Heap Scan"], ["Index Scan"])
    # A helper that is asked about each row is what a policy must not be.
    await bulk.execute(
        "create function private.may_read(p_tenant_id uuid) returns boolean"
        " language sql stable set search_path = ''"
        " as $$ select p_tenant_id = any (private.tenants_with('products.read')) $$"
    )
    await bulk.execute(
        'alter policy "members see their tenant\'s products" on public.products'
        " using (private.may_read(tenant_id))"
    )
    async with acting_as(bulk, person):
        await rows(bulk, query + " limit 100")
        assert await value(bulk, ASKED) >= 100


async def test_a_plan_of_an_empty_table_does_not_outlive_it(
    database: Database, db: Connection, company: Company
) -> None:
    """The policies' functions keep their plans for a session, which may be older than 100,000 members."""
    asked: LiteralString = "select private.tenants_with('products.read'), private.my_tenants()"
    async with acting_as(db, company.owner):
        for _ in range(10):  # the generic plan comes with the sixth
            await rows(db, asked)
    bulk = await connect_for_bulk(database)
    await bulk.execute(
        "insert into public.memberships (tenant_id, principal_id, role)"
        " select gen_random_uuid(), gen_random_uuid(), 'viewer' from generate_series(1, 100000)"
    )
    async with acting_as(db, company.owner):
        assert await pages(db, asked) < 50


async def test_every_policy_asks_in_a_sub_select(db: Connection) -> None:
    policies = await rows(
        db,
        "select tablename, policyname, concat_ws(' and ', qual, with_check) from pg_policies"
        " where schemaname in ('public', 'queue', 'realtime')"
        # the catalogue of event types is the same for all
        " and tablename <> 'event_types'",
    )
    assert len(policies) > 30
    for table, name, expression in policies:
        assert "tenants" in expression, f"{table}: {name} does not ask for tenants"
        left = re.sub(r"\( SELECT (private|auth|realtime)\.\w+\([^()]*\) AS \w+\)", "", expression)
        assert not re.search(r"(private|auth|realtime)\.", left), f"{table}: {name} asks for every row"


# -- queues --------------------------------------------------------------------------------------------------


async def test_dispatch_does_not_walk_what_was_deleted(
    db: Connection, other: Connection, company: Company
) -> None:
    # the first look that finds something plans its statement, which reads many pages of the catalogue
    await rpc(db, "dispatch_outbox")
    await db.execute(FILL_OUTBOX)
    async with open_transaction(other, "repeatable read"):
        await db.execute("delete from private.outbox")
        mark = (await rpc(db, "dispatch_outbox"))["mark"]
        assert await pages(db, DISPATCH, mark) < 100, "an empty look"
        assert await pages(db, DISPATCH, "0") > 1000, "without its mark"
        assert await pages(db, "select * from private.outbox order by id limit 2000") > 1000
        await add_products(db, company, 5)
        assert await pages(db, DISPATCH, mark) < 1000, "a look that finds something"
    assert await value(db, "select count(*) from public.events where type = 'product.created'") == 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(cluster_url: str) -> AsyncIterator[str]:
    """The name of a database with full lanes, to be cloned."""
    async with cloned_database(cluster_url) as database:
        await found_company(await database.connect())
        await (await connect_for_bulk(database)).execute(FILL_LANES)
        await database.close()
        yield database.name


@pytest.fixture
async def lanes(cluster_url: str, filled: str) -> AsyncIterator[Database]:
    """A clone of it."""
    async with cloned_database(cluster_url, filled) as clone:
        yield clone


async def test_lanes_are_read_from_their_mark_and_retries_when_they_are_due(lanes: Database) -> None:
    db = await lanes.connect()
    worker = LaneWorker(db, "first")
    await worker.lease(p_limit=50)
    fresh = await worker.deliveries(after=49_900, limit=500)
    assert len(fresh) == 50
    assert await pages(db, READ, worker.token, 50_000) < 100, "nothing new"
    assert await pages(db, READ, worker.token, 49_900) < 1000, "50 deliveries"
    await db.execute("update queue.retries set due_at = now() where id <= 100040")
    due = await worker.deliveries(after=50_000)
    assert len(due) == 40, "of the lanes that are the worker's"
    assert await pages(db, READ, worker.token, 50_000) < 1000, "40 retries"


@pytest.mark.parametrize("mode", ["tail", "behind", "backlog", "retries"])
async def test_reading_does_not_compare_each_delivery_with_each_lane(lanes: Database, mode: str) -> None:
    session = await lanes.connect("supabase_admin")
    worker = LaneWorker(session, "one")
    await worker.lease()
    options: dict[str, object] = {"after": 0}
    if mode == "behind":
        options["p_behind_lane_ids"] = list(range(1, 51))
    elif mode == "backlog":
        options["p_lane_ids"] = list(range(1, 51))
    elif mode == "retries":
        options["after"] = 50_000
        await session.execute("update queue.retries set due_at = now() where id <= 100400")
    for _ in range(7):  # the generic plan comes with the sixth
        await worker.deliveries(limit=10, **options)
    plans = await explain_all(session)
    assert len(await worker.deliveries(limit=400, **options)) == 400
    assert most_looked_at(plans) <= 5 * 400


@pytest.mark.parametrize("look", ["expire_deliveries", "find_missed_delivery"])
async def test_a_look_at_each_lane_does_not_read_what_others_are_owed(lanes: Database, look: str) -> None:
    """All is one lane's, so that a plan for any lane takes the index in which it would come first."""
    bulk = await connect_for_bulk(lanes)
    await bulk.execute("update queue.deliveries set lane_id = 1")
    await bulk.execute("vacuum analyze queue.deliveries")
    session = await lanes.connect("supabase_admin")
    worker = LaneWorker(session, "one")
    await worker.lease()
    arguments: dict[str, object] = {}
    if look == "find_missed_delivery":
        arguments = {"p_token": worker.token, "p_through": 50_000, "p_behind_lane_ids": [1]}
    for _ in range(6):  # the generic plan comes with the sixth
        await rpc(session, look, **arguments)
    plans = await explain_all(session)
    await rpc(session, look, **arguments)
    assert most_looked_at(plans) <= 1000


@pytest.mark.parametrize("outcome", ["delivered", "retry"])
async def test_settling_does_not_compare_each_result_with_each(lanes: Database, outcome: str) -> None:
    session = await lanes.connect("supabase_admin")
    worker = LaneWorker(session, "one")
    await worker.lease()
    more: dict[str, object] = {"retry_in_seconds": 60} if outcome == "retry" else {}
    for _ in range(7):  # the generic plan comes with the sixth
        await worker.settle(await worker.deliveries(limit=10), outcome, **more)
    results = await worker.deliveries(limit=400)
    plans = await explain_all(session)
    assert (await worker.settle(results, outcome, **more))["settled"] == 400
    assert 400 <= most_looked_at(plans) <= 10 * 400


async def test_claiming_looks_only_at_what_is_due(db: Connection) -> None:
    await db.execute(FILL_JOBS)
    await pages(db, CLAIM)  # the first call of a session reads the catalogue
    assert await pages(db, CLAIM) < 100, "nothing is due"
    await db.execute("insert into queue.jobs (kind) select 'images.fetch' from generate_series(1, 20)")
    touched = await pages(db, CLAIM)
    assert await value(db, "select count(*) from queue.jobs where state = 'running'") == 20
    assert touched < 1000
