"""Selling: `reserve_stock` on one product and over 2,000, direct and by PostgREST, beside a bare update."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb
from pyreqwest.client import ClientBuilder

from tests.bench.connections import Connection, direct
from tests.bench.figures import Line, per_second, spread
from tests.flow.scene import Scene
from tests.flow.shop import Shop

PRODUCTS = 2000
CALLERS = (1, 8, 64)
SECONDS = 4.0
PLENTY = 1_000_000_000
RESERVE = "select public.reserve_stock(%s, %s)"
# what the row lock and the commit alone cost: no policy, no trigger, no ledger, no event
BARE = "update public.bench_levels set reserved = reserved + 1 where id = %s and on_hand - reserved >= 1"

Call = Callable[[uuid.UUID], Awaitable[None]]


@dataclass(frozen=True)
class Market:
    shop: Shop
    location: uuid.UUID

    def line(self, product: uuid.UUID) -> dict[str, object]:
        return {"product_id": str(product), "location_id": str(self.location), "quantity": 1}


async def reserve(scene: Scene) -> Line:
    """One reservation of one line a call; p50 and p99 at 64 callers, rates at 1, 8 and 64."""
    market = await _open_market(scene)
    hot, many = market.shop.products[:1], market.shop.products
    line: dict[str, Any] = {}
    for name, products in (("one_product", hot), (f"{PRODUCTS}_products", many)):
        line[name] = {
            "direct": await _rates(lambda: _direct_call(scene, market), products),
            "postgrest": await _rates(lambda: _http_call(scene, market), products),
            "bare_update": await _rates(lambda: _bare_call(scene, market), products),
        }
    return line


async def _open_market(scene: Scene) -> Market:
    shop = await scene.shop(products=PRODUCTS, endpoints=0)
    async with direct(scene.platform.db_url) as connection:
        cursor = await connection.execute(
            "insert into public.locations (tenant_id, code, name) values (%s, 'MAIN', 'Main') returning id",
            (shop.tenant.id,),
        )
        row = await cursor.fetchone()
        assert row is not None
        market = Market(shop, row[0])
        lines = [{**market.line(product), "quantity": PLENTY} for product in shop.products]
        await _act_as_owner(connection, shop)
        await connection.execute("select public.receive_stock(%s, %s)", (shop.tenant.id, Jsonb(lines)))
        await connection.execute("reset role")
        await connection.execute(
            "create table public.bench_levels (id uuid primary key, on_hand bigint, reserved bigint)"
            " with (fillfactor = 80)"
        )
        await connection.execute(
            "insert into public.bench_levels select unnest(%s::uuid[]), %s, 0", (shop.products, PLENTY)
        )
        await connection.execute("analyze")
    return market


async def _act_as_owner(connection: Connection, shop: Shop) -> None:
    """For the whole session, so that a call is one statement."""
    claims = json.dumps({"role": "authenticated", "sub": str(shop.tenant.owner.id)})
    await connection.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
    await connection.execute("set role authenticated")


@contextlib.asynccontextmanager
async def _direct_call(scene: Scene, market: Market) -> AsyncIterator[Call]:
    async with direct(scene.platform.db_url) as connection:
        await _act_as_owner(connection, market.shop)

        async def call(product: uuid.UUID) -> None:
            await connection.execute(RESERVE, (market.shop.tenant.id, Jsonb([market.line(product)])))

        yield call


@contextlib.asynccontextmanager
async def _bare_call(scene: Scene, market: Market) -> AsyncIterator[Call]:
    async with direct(scene.platform.db_url) as connection:

        async def call(product: uuid.UUID) -> None:
            await connection.execute(BARE, (product,))

        yield call


@contextlib.asynccontextmanager
async def _http_call(scene: Scene, market: Market) -> AsyncIterator[Call]:
    addresses, tenant = scene.platform.addresses, market.shop.tenant
    headers = {
        "apikey": addresses.publishable_key,
        "authorization": f"Bearer {tenant.owner.access_token}",
        "content-type": "application/json",
    }
    url = f"{addresses.api_url}/rest/v1/rpc/reserve_stock"
    builder = ClientBuilder().http1_only().no_proxy().timeout(timedelta(seconds=30))
    async with builder.build() as client:

        async def call(product: uuid.UUID) -> None:
            body = json.dumps({"p_tenant_id": str(tenant.id), "p_lines": [market.line(product)]})
            answer = await client.post(url).headers(headers).body_text(body).build().send()
            assert answer.status == 200, await answer.text()

        yield call


async def _rates(
    make: Callable[[], contextlib.AbstractAsyncContextManager[Call]], products: Sequence[uuid.UUID]
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for callers in CALLERS:
        async with contextlib.AsyncExitStack() as stack:
            calls = [await stack.enter_async_context(make()) for _ in range(callers)]
            taken, seconds = await _drive(calls, products)
        figures[f"{callers}_callers_per_s"] = per_second(len(taken), seconds)
    return {**figures, **{f"{CALLERS[-1]}_callers_{name}": value for name, value in spread(taken).items()}}


async def _drive(calls: Sequence[Call], products: Sequence[uuid.UUID]) -> tuple[list[float], float]:
    """Every caller calls again as soon as it has its answer; the seconds of each call, and of all."""
    taken: list[float] = []
    chance = random.Random(7)

    async def go_on(call: Call, until: float) -> None:
        while (started := time.perf_counter()) < until:
            await call(chance.choice(products))
            taken.append(time.perf_counter() - started)

    await asyncio.gather(*(call(chance.choice(products)) for call in calls))  # connections and plans
    started = time.perf_counter()
    await asyncio.gather(*(go_on(call, started + SECONDS) for call in calls))
    return taken, time.perf_counter() - started
