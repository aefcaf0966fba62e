"""Buyers at a few hot products, over SQL and PostgREST; holds expire, sessions die and Postgres crashes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import psycopg
from pyreqwest.client import ClientBuilder

from tests.chaos.report import Fact, Report
from tests.chaos.stock_buyers import Buyer, Door, HttpDoor, Memory, SqlDoor
from tests.chaos.stock_market import Connection, Market, connect, faults_in_the_books, open_market
from tests.eventually import eventually
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene

PRODUCTS = 6
EVERY = 0.25
"""Seconds between two killed sessions, and between two sweeps."""
EXPECTED_REFUSALS = {"stock.insufficient", "reservation.expired"}
KILL = """
select pg_terminate_backend(pid) from pg_stat_activity
where application_name = 'buyer' and state = 'active' order by random() limit 1
"""
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
SWEEP = "select worker.sweep_reservations(200)"
TOLD = "select id::text, quantity, status from public.reservations where tenant_id = %s"


async def stock_storm(
    scene: Scene,
    *,
    attempts: int = 100_000,
    buyers: int = 256,
    stock: int = 2000,
    crash: bool = True,
    prepare: Callable[[Connection], Awaitable[None]] | None = None,
) -> Report:
    """256 buyers at hot products, bundles that share an item, several places; half of them by PostgREST."""
    started = time.monotonic()
    platform = scene.platform
    shop = await scene.shop(products=PRODUCTS, endpoints=0)
    market = await open_market(platform.db_url, shop.tenant, shop.products, stock=stock)
    if prepare is not None:
        async with await connect(platform.admin_db_url) as admin:
            await prepare(admin)
    memory, turns, deadlocks = Memory(), iter(range(attempts)), 0
    async with _doors(scene, market, buyers) as doors, asyncio.TaskGroup() as group:
        shopping = [
            group.create_task(Buyer(door, market, memory, random.Random(n)).shop(turns))
            for n, door in enumerate(doors)
        ]
        around = [group.create_task(_again_and_again(platform.admin_db_url, sql)) for sql in (KILL, SWEEP)]
        if crash:
            await eventually(lambda: memory.attempts > attempts // 2, 3600, interval=0.05)
            deadlocks += await _deadlocks(platform.admin_db_url)  # a crash forgets the statistics
            await asyncio.to_thread(platform.restart_postgres, "immediate")
        await asyncio.wait(shopping)
        for task in around:
            task.cancel()
    deadlocks += memory.deadlocks + await _deadlocks(platform.admin_db_url)
    return await _report(scene, market, memory, deadlocks, attempts, started)


@contextlib.asynccontextmanager
async def _doors(scene: Scene, market: Market, buyers: int) -> AsyncIterator[list[Door]]:
    """Half of them sessions (named, so that they can be killed), half of them clients of PostgREST."""
    addresses = scene.platform.addresses
    url = f"{scene.platform.db_url}?application_name=buyer"
    sessions = [SqlDoor(url, market) for _ in range(buyers // 2)]
    async with ClientBuilder().http1_only().no_proxy().timeout(timedelta(seconds=30)).build() as client:
        http = HttpDoor(client, addresses.api_url, addresses.publishable_key, market)
        try:
            yield [*sessions, *[http] * (buyers - len(sessions))]
        finally:
            for session in sessions:
                await session.close()


async def _again_and_again(db_url: str, sql: str) -> None:
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            async with await connect(db_url) as connection:
                while True:
                    await connection.execute(sql.encode())
                    await asyncio.sleep(EVERY)
        await asyncio.sleep(EVERY)


async def _deadlocks(db_url: str) -> int:
    async with await connect(db_url) as connection:
        row = await (await connection.execute(DEADLOCKS)).fetchone()
    assert row is not None
    return int(row[0])


async def _report(
    scene: Scene, market: Market, memory: Memory, deadlocks: int, attempts: int, started: float
) -> Report:
    async with await connect(scene.platform.db_url) as connection:
        rows = await (await connection.execute(TOLD, (market.tenant.id,))).fetchall()
    stored = {key: (quantity, status) for key, quantity, status in rows}
    oversold, faults = await faults_in_the_books(scene.platform.db_url, market)
    faults += memory.faults
    faults += [
        f"refused: {code}, {n} times" for code, n in memory.refusals.items() if code not in EXPECTED_REFUSALS
    ]
    lost = [key for key, quantity in memory.reserved.items() if stored.get(key, (None,))[0] != quantity]
    broken = [key for key in memory.kept if stored[key][1] not in ("committed", "shipped")]
    unasked = stored.keys() - memory.reserved.keys()
    for what, found in (("lost", lost), ("committed, then taken away", broken), ("made twice", unasked)):
        if found:
            faults.append(f"{len(found)} reservations {what}")
    if deadlocks:
        faults.append(f"{deadlocks} deadlocks")
    seconds = time.monotonic() - started
    facts: dict[str, Fact] = {
        "attempts": attempts,
        "attempts_per_s": round(attempts / seconds),
        "oversold": oversold,
        "lost_reservations": len(lost),
        "deadlocks": deadlocks,
        "kept": len(memory.kept),
        "sold_out": memory.refusals["stock.insufficient"],
        "expired": sum(status == "expired" for _, status in stored.values()),
        "interruptions": memory.interruptions,
    }
    judgement = Judgement(len(memory.reserved), len(stored), len(stored) - len(unasked), 0, 0)
    return Report("stock_storm", seconds, judgement, facts, faults)
