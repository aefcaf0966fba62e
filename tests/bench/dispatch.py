"""Dispatch over a backlog."""

from __future__ import annotations

import time

from tests.bench.connections import direct, dispatch_all
from tests.bench.figures import Line, per_second
from tests.flow.scene import Scene
from tests.flow.writers import burst

EVENTS = 100_000
PRODUCTS = 1000


async def dispatch(scene: Scene) -> Line:
    """Events a second with one endpoint, so one delivery each, beside a bare insert … select of as many."""
    shop = await scene.shop(products=PRODUCTS)
    async with direct(scene.platform.admin_db_url) as connection:
        await dispatch_all(connection)
        await burst(scene.platform.db_url, shop.products, rounds=EVENTS // PRODUCTS)
        started = time.perf_counter()
        moved = await dispatch_all(connection)
        seconds = time.perf_counter() - started
        assert moved == EVENTS, f"{moved} events instead of {EVENTS}"
        await connection.execute("create table private.bench_copy (like public.events including all)")
        started = time.perf_counter()
        copied = await connection.execute(
            "insert into private.bench_copy select * from public.events where type = 'product.updated'"
        )
        copying = time.perf_counter() - started
    return {
        "events": moved,
        "events_per_s": per_second(moved, seconds),
        "reference": {"insert_select_rows_per_s": per_second(copied.rowcount, copying)},
    }
