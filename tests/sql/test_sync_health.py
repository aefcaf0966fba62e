"""How sync goes for all clients together, as /metrics shows it."""

from __future__ import annotations

from datetime import timedelta
from typing import LiteralString

from psycopg import sql

from tests.databases import Connection, Database
from tests.sql.ask import rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_product, add_products
from tests.sql.dispatching import drain
from tests.sql.plans import connect_for_bulk, pages
from tests.sql.syncing import change, push
from tests.sql.test_sync_pull import begin, pull
from tests.sql.test_sync_status import FILL


async def test_the_health_of_sync_is_right_in_the_small(db: Connection, company: Company) -> None:
    await stop_clock(db)
    cursor = await begin(db, company)
    product = await add_product(db, company)
    await drain(db)
    await pull(db, company, cursor, p_client="gone")
    await move_clock(db, timedelta(days=1, seconds=1))
    await add_products(db, company, 2)
    await drain(db)
    await move_clock(db, timedelta(seconds=30))
    await push(db, company, change(product, {"name": {"set": "Boot"}}))
    await move_clock(db, timedelta(seconds=4))
    page = await pull(db, company, cursor, p_client="till", p_limit=1)
    await pull(db, company, (await pull(db, company, page["cursor"]))["cursor"], p_client="phone")
    await pull(db, company, page["cursor"], p_client="watch")
    seen = await rpc(db, "sync_health")
    assert (seen["pending"], seen["pending_oldest_seconds"], seen["conflicts_open"]) == (1, 4, 0)
    assert seen["clients"] == 3, "one was not seen for a day"
    assert seen["lag_events"]["sum"] == 3 + 0 + 2
    assert dict(seen["lag_events"]["buckets"]) == {0: 1, 1: 1, 10: 3, 100: 3, 1000: 3, 10000: 3, 100000: 3}
    assert [n for bound, n in seen["lag_seconds"]["buckets"] if bound in (0, 15, 60, 86400)] == [1, 1, 2, 2]
    assert seen["lag_seconds"]["sum"] == (86401 + 34) + 0 + 34


async def test_a_client_that_had_everything_lacks_what_came_later(db: Connection, company: Company) -> None:
    """It noted nothing that it lacks, so the log is asked."""
    await stop_clock(db)
    cursor = await begin(db, company)
    await pull(db, company, cursor, p_client="till")
    await move_clock(db, timedelta(hours=2))
    await add_product(db, company)
    await drain(db)
    await move_clock(db, timedelta(seconds=12))
    assert (await rpc(db, "sync_health"))["lag_seconds"]["sum"] == 12


async def test_of_very_many_clients_the_latest_count_and_the_old_are_not_read(
    database: Database, db: Connection, company: Company
) -> None:
    bulk = await connect_for_bulk(database)
    await drain(db)
    add: LiteralString = (
        "insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq, pulled_at)"
        " select t.id, gen_random_uuid(), 'phone', e.epoch, 50100, {} from public.tenants t,"
        " private.log_epoch e, generate_series(1, {})"
    )
    await bulk.execute(sql.SQL(add).format(sql.SQL("private.today() - interval '1 s'"), 12_000))
    await bulk.execute(FILL)
    seen = await rpc(db, "sync_health")
    assert (seen["clients"], seen["lag_events"]["sum"]) == (10_000, 1000 * sum(range(50)))
    await bulk.execute("delete from public.sync_clients where client = 'phone'")
    await bulk.execute("vacuum analyze public.sync_clients")
    before = await pages(db, "select worker.sync_health()")
    await bulk.execute(sql.SQL(add).format(sql.SQL("now() - interval '5 days'"), 30_000))
    await bulk.execute("vacuum analyze public.sync_clients")
    assert await pages(db, "select worker.sync_health()") < 2 * before, "and not the table"


async def test_the_health_of_sync_is_cheap_in_the_large(
    database: Database, db: Connection, company: Company
) -> None:
    bulk = await connect_for_bulk(database)
    await drain(db)
    await bulk.execute(FILL)
    await bulk.execute(
        "insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq)"
        " select t.id, gen_random_uuid(), 'phone', e.epoch, 50000 from public.tenants t, private.log_epoch e,"
        " generate_series(1, 30000)"
    )
    await bulk.execute("vacuum analyze public.sync_clients, public.sync_changes")
    seen = await rpc(db, "sync_health")
    assert (seen["pending"], seen["clients"]) == (1000, 10_000)
    body = str(await value(db, "select prosrc from pg_proc where oid = 'worker.sync_health'::regproc"))
    assert body.count("limit ") >= body.count("from public.") - 1, "nothing is read to the end"
    oldest: LiteralString = (
        "select pushed_at from public.sync_changes where status = 'pending' order by pushed_at limit 1"
    )
    assert await pages(db, oldest) < 10
    assert await pages(db, "select worker.sync_health()") < 6 * 10_000, "of each client a few"
