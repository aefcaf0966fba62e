"""The fault cases in their short forms, and what a crash does to transaction ids."""

from __future__ import annotations

import psycopg
import pytest

from tests.chaos.postgres_restarted import postgres_restarted
from tests.chaos.realtime import realtime_away, realtime_off
from tests.chaos.report import Report
from tests.chaos.worker_killed import worker_killed
from tests.flow.ledger import delivered, judge
from tests.flow.scene import scene
from tests.flow.writers import burst

pytestmark = pytest.mark.own_platform


async def test_a_killed_worker_loses_nothing() -> None:
    async with scene() as played:
        report = await worker_killed(played, deliveries=400, kills=2)
    assert_clean(report, events=400)


async def test_nothing_is_lost_while_realtime_is_away() -> None:
    async with scene() as played:
        report = await realtime_away(played, away=5, around=2)
    assert_clean(report, events=36)


async def test_without_realtime_the_poll_interval_bounds_the_latency() -> None:
    async with scene() as played:
        report = await realtime_off(played, seconds=2)
    assert_clean(report, events=108)


async def test_a_crash_of_postgres_loses_nothing_committed() -> None:
    async with scene(durable=True) as played:
        report = await postgres_restarted(played, backlog=400, per_second=50, seconds=3)
    assert report.judgement.events >= 550  # one that was in doubt may have been committed
    assert_clean(report, events=report.judgement.events)


async def test_transaction_ids_that_come_again_after_a_crash_hide_nothing() -> None:
    """An id that left no trace on disk is given again after a crash, below the last look's mark."""
    async with scene(durable=True) as played:
        platform = played.platform
        shop = await played.shop(products=10)
        async with played.worker(WORKER_POLL_SECONDS="0.2") as worker:
            first = await burst(platform.db_url, shop.products, rounds=1)
            await delivered(platform.db_url, 20)
            await _use_up_transaction_ids(platform.db_url)
            looks = (await worker.metrics())["pms_dispatch_seconds_count"]
            await worker.until_metric("pms_dispatch_seconds_count", looks + 2, 20)
            platform.restart_postgres("immediate")
            second = await burst(platform.db_url, shop.products, rounds=1)
            await _use_up_transaction_ids(platform.db_url)
            await delivered(platform.db_url, 30)
            judgement = await judge(platform.db_url, shop, shop.hook, [*first, *second])
    assert not judgement.faults
    assert judgement.received == 20


async def _use_up_transaction_ids(db_url: str, count: int = 200) -> None:
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        for _ in range(count):
            await connection.execute("begin")
            await connection.execute("select pg_current_xact_id()")
            await connection.execute("rollback")


def assert_clean(report: Report, *, events: int) -> None:
    assert not report.all_faults, report.line()
    assert (report.judgement.events, report.judgement.received) == (events, events)
    assert report.judgement.explained == report.judgement.duplicates
