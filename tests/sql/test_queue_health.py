"""`queue_health`: right in the small, cheap in the large, and it finds who holds up vacuum."""

from __future__ import annotations

import datetime as dt
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.eventually import eventually
from tests.sql.ask import column, open_transaction, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_endpoint, add_product
from tests.sql.lane_worker import LaneWorker, owe
from tests.sql.plans import connect_for_bulk, pages

LOOK: LiteralString = "select worker.queue_health(%s)"
NAIVE: LiteralString = """
    select (select jsonb_object_agg(s.status, s.endpoints)
        from (select e.status, count(*) as endpoints from public.webhook_endpoints e group by e.status) s),
      (select count(*) from queue.jobs where state = 'buried'), (select count(*) from queue.fan_outs),
      (select count(*) from public.webhook_troubles), (select count(*) from queue.deliveries)
"""

FILL: LiteralString = """
    insert into public.webhook_endpoints (tenant_id, url, status, disabled_reason, disabled_at)
    select t.id, 'https://example.com/' || n,
      case when n % 10 = 0 then 'disabled' when n % 100 = 1 then 'paused' else 'active' end,
      case when n % 10 = 0 then 'x' end, case when n % 10 = 0 then now() end
    from public.tenants t, generate_series(1, 100000) n;
    insert into public.webhook_troubles (endpoint_id, tenant_id, failing_since, failures, last_failure_at)
    select id, tenant_id, now(), 1, now() from public.webhook_endpoints;
    insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
    select 1 + n % 100, t.id, n, private.today() from public.tenants t, generate_series(1, 200000) n;
    insert into queue.jobs (kind, due_at) select 'images.fetch', now() from generate_series(1, 200000);
    insert into queue.fan_outs (tenant_id, seq, dispatched_on, type, entity, through_lane_id)
    select t.id, n, private.today(), 'a', 'b', 1 from public.tenants t, generate_series(1, 50000) n;
    insert into private.invalid_events (tenant_id, seq, type, problem, at)
    select t.id, n, 'a', 'b', now() from public.tenants t, generate_series(1, 12000) n;
"""


async def test_every_number_is_right_in_the_small(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    paused = await add_endpoint(db, company, events=("order.*",))
    await db.execute("update public.webhook_endpoints set status = 'paused' where id = %s", (paused["id"],))
    disabled = await add_endpoint(db, company, events=("order.*",))
    await db.execute(
        "update public.webhook_endpoints set status = 'disabled' where id = %s", (disabled["id"],)
    )
    await owe(db, company)
    now = str(await value(db, "select private.now()"))
    await worker.settle(await worker.deliveries(), "probe", started_at=now)
    await db.execute(
        "insert into queue.jobs (kind, state) values ('images.fetch', 'buried'), ('images.fetch', 'waiting')"
    )
    await db.execute(
        "insert into queue.fan_outs values (%s, 1, private.today(), 'a', 'b', 0, 9)", (company.tenant_id,)
    )
    await db.execute(
        "insert into private.invalid_events values (%s, 1, 'a', 'b', private.now())", (company.tenant_id,)
    )
    await move_clock(db, dt.timedelta(seconds=5))
    await add_product(db, company)
    await move_clock(db, dt.timedelta(seconds=7))
    seen = await rpc(db, "queue_health")
    assert seen["endpoints"] == {"active": 1, "paused": 1, "disabled": 1}
    counts = ("endpoints_failing", "jobs_buried", "fan_outs", "invalid_events")
    assert [seen[what] for what in counts] == [1, 1, 1, 1]
    assert seen["outbox_oldest_seconds"] == 7
    assert (seen["partitions_ahead_days"], seen["oldest_partition_days"]) == (7, 0)
    hot = {"deliveries", "retries", "jobs", "lanes", "leases", "fan_outs"}
    assert set(seen["tables"]) == {f"queue.{name}" for name in hot} | {"private.outbox", "private.tenant_log"}
    assert all(table["bytes"] > 0 for table in seen["tables"].values())


async def test_the_outbox_is_looked_at_from_dispatchs_mark_on(db: Connection, company: Company) -> None:
    mark = (await rpc(db, "dispatch_outbox"))["mark"]
    assert (await rpc(db, "queue_health", p_mark=mark))["outbox_oldest_seconds"] is None
    await add_product(db, company)
    assert (await rpc(db, "queue_health", p_mark=mark))["outbox_oldest_seconds"] > 0
    future = await value(db, "select (pg_current_xact_id()::text::bigint + 1000000)::text")
    assert (await rpc(db, "queue_health", p_mark=future))["outbox_oldest_seconds"] > 0, (
        "a restore moved ids back"
    )


async def test_partitions_ahead_are_those_of_the_table_that_has_fewest(db: Connection) -> None:
    await db.execute(
        "do $$ declare n text; begin for n in select d.name from private.days_of('public.webhook_attempts') d"
        " where d.day > private.today() + 1 loop execute format('drop table private.%I', n); end loop; end $$"
    )
    for look in ("queue_health", "worker_status"):
        assert (await rpc(db, look))["partitions_ahead_days"] == 1
    await stop_clock(db)
    await move_clock(db, dt.timedelta(days=2))
    for look in ("queue_health", "worker_status"):
        assert (await rpc(db, look))["partitions_ahead_days"] == -1, "today's is missing"


async def test_a_look_stays_cheap_beside_100_000_endpoints(
    database: Database, db: Connection, company: Company, other: Connection
) -> None:
    """In pages, not in milliseconds: reading every endpoint, delivery and job takes thousands."""
    bulk = await connect_for_bulk(database)
    await bulk.execute(FILL)
    await bulk.execute("vacuum analyze public.webhook_endpoints")
    async with open_transaction(other, "repeatable read"):
        await other.execute("select count(*) from public.tenants")
        await bulk.execute(
            "insert into private.outbox (tenant_id, entity, entity_id, operation, version, occurred_at)"
            " select gen_random_uuid(), 'product', gen_random_uuid(), 'UPDATE', 1, now()"
            " from generate_series(1, 100000)"
        )
        await bulk.execute("delete from private.outbox")
        mark = (await rpc(db, "dispatch_outbox"))["mark"]
        mark = (
            await value(db, "select pg_snapshot_xmax(pg_current_snapshot())::text") if mark == "0" else mark
        )
        await rpc(db, "queue_health", p_mark=mark)  # caches of the catalogue
        touched, naive = await pages(db, LOOK, mark), await pages(db, NAIVE)
        unmarked = await pages(db, LOOK, "0")
    assert touched < 1_500, (touched, naive, unmarked)
    assert naive > 3 * touched
    assert unmarked > 3 * touched, "the mark is what spares it the deleted entries"
    seen = await rpc(db, "queue_health", p_mark=mark)
    assert seen["endpoints"]["paused"] == 1_000
    assert seen["endpoints"]["disabled"] == 10_000
    assert seen["endpoints"]["active"] == pytest.approx(89_000, rel=0.02), "an estimate"
    assert seen["fan_outs"] == seen["endpoints_failing"] == seen["invalid_events"] == 10_000, "cut"


async def test_nothing_is_counted_to_the_end(db: Connection) -> None:
    """Every count stands over a bounded selection."""
    for function in ("worker.queue_health", "private.endpoints_by_status"):
        body = str(await value(db, "select prosrc from pg_proc where oid = %s::regproc", function))
        counts = body.count("count(*)")
        assert counts > 0
        assert body.count("limit ") >= counts


# -- who holds up vacuum -------------------------------------------------------------------------------------


async def holder(db: Connection) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (await rpc(db, "queue_health"))["xmin"]
    return found


async def named(database: Database, name: str) -> Connection:
    session = await database.connect()
    await session.execute("select set_config('application_name', %s, false)", (name,))
    return session


async def test_an_open_snapshot_is_found_by_name_and_gone_with_its_end(
    db: Connection, database: Database
) -> None:
    etl = await named(database, "etl")
    async with open_transaction(etl, "repeatable read"):
        await etl.execute("select 1 from public.tenants")
        await value(db, "select pg_current_xact_id()")
        found = await holder(db)
        assert found is not None
        assert (found["kind"], found["seconds"] > 0, found["xids"] > 0) == ("session", True, True)
        assert f"pid {etl.info.backend_pid}," in found["name"]
        assert "etl, idle in transaction" in found["name"]
    found = await holder(db)
    assert found is None or "etl" not in found["name"]


async def test_a_writer_that_idles_without_a_snapshot_is_found_too(
    db: Connection, database: Database
) -> None:
    """Between statements of read committed it has no snapshot, and vacuum waits for its transaction id."""
    writer = await named(database, "forgetful")
    async with open_transaction(writer):
        await writer.execute("select pg_current_xact_id()")
        snapshot = "select backend_xmin is null from pg_stat_activity where pid = %s"
        await eventually(lambda: value(db, snapshot, writer.info.backend_pid), what="it has no snapshot")
        found = await holder(db)
        assert found is not None
        assert "forgetful" in found["name"]


async def test_sessions_of_other_databases_hold_up_nothing_here(db: Connection, admin_db_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(admin_db_url, application_name="elsewhere") as elsewhere:
        await elsewhere.execute("set transaction isolation level repeatable read")
        await elsewhere.execute("select pg_current_xact_id()")
        sees_all = await value(db, "select pg_has_role('pg_read_all_stats', 'usage')")
        assert sees_all, "else this test shows nothing"
        activity = "select backend_xid is not null from pg_stat_activity where application_name = 'elsewhere'"
        assert await value(db, activity)
        found = await holder(db)
        assert found is None or "elsewhere" not in found["name"]


async def test_the_indexes_that_counting_needs_hold_the_exceptions_alone(db: Connection) -> None:
    indexes = await column(
        db, "select indexdef from pg_indexes where indexname in ('jobs_buried', 'webhook_endpoints_resting')"
    )
    assert len(indexes) == 2
    assert all(" WHERE " in index for index in indexes)
