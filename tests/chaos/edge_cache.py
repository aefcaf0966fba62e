"""Thousands of readers of the edge adapter, writers beside them, and a Redis and a worker that are killed."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder

from tests.bench.connections import direct
from tests.bench.figures import spread
from tests.chaos.counting_proxy import CountingProxy
from tests.chaos.edge_judge import Board
from tests.chaos.edge_market import Market, open_markets, readers_of_products, send
from tests.chaos.edge_operations import Clients
from tests.chaos.report import Fact, Report
from tests.edge.redis_state import grown_up
from tests.eventually import eventually
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene
from tests.flow.worker_process import WorkerProcess
from tests.stack.paths import ROOT

TENANTS = 3
ADAPTERS = 2
AT_ONCE = 24
LEASE_SECONDS = 4
OLDEST = 90.0
"""Seconds that a read without X-Min-Seq may lie behind: 60 as an entry, 15 of a heartbeat, and its own."""
COLD = "/pms/products?limit=100&sort=-sku&fields=id,sku,version"
RATES = {"PMS_API_KEY_RATE": "1000000", "PMS_API_ADDRESS_RATE": "1000000"}
NAIVE = {
    "STACK_FUNCTIONS": json.dumps({"api": (ROOT / "tests" / "chaos" / "naive_adapter.ts").as_uri()}),
}
"""Settings of an adapter whose cache looks at time alone."""
VERSIONS = """
select 'product', id::text, version from public.products where tenant_id = %(t)s
union all select 'level', product_id::text, version from public.stock_levels where tenant_id = %(t)s
"""


async def edge_cache(
    scene: Scene,
    *,
    operations: int = 200_000,
    readers: int = 2_000,
    every: float | None = 40.0,
    writing: int = 2,
    adapter: Mapping[str, str] | None = None,
    seed: int = 1,
) -> Report:
    """2,000 readers of a cold key, then 200,000 mixed operations of 45 keys at two adapters, over which Redis
    and the worker are killed again and again (about every so many seconds; None: never)."""
    started = time.monotonic()
    settings = {**RATES, **(adapter or {})}
    instances = [scene.platform.start_functions(f"adapter-{n}", **settings) for n in range(ADAPTERS)]
    adapters = [instance.url for instance in instances]
    async with _client() as client, scene.worker(WORKER_LEASE_SECONDS=str(LEASE_SECONDS)) as worker:
        markets = await open_markets(scene, client, adapters[0], TENANTS)
        cold = await _herd(scene, client, markets[0], readers, settings)
        boards = {market.tenant.slug: await _board(scene, client, adapters[0], market) for market in markets}
        clients = Clients(client, adapters, markets, boards, random.Random(seed), writing)
        weather = _Weather(scene, worker, every or 0.0, random.Random(seed))
        turns = itertools.takewhile(
            lambda n: n < operations or (every is not None and not weather.worker_killed), itertools.count()
        )
        storm_began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            raging = group.create_task(weather.rage() if every is not None else asyncio.sleep(0))
            acting = [group.create_task(clients.act(turns)) for _ in range(AT_ONCE)]
            await asyncio.wait(acting)
            raging.cancel()
        rate = clients.done / (time.monotonic() - storm_began)
    return _report(clients, weather, cold, operations, rate, time.monotonic() - started)


@asynccontextmanager
async def _client() -> AsyncIterator[Client]:
    async with ClientBuilder().http1_only().no_proxy().timeout(timedelta(seconds=60)).build() as client:
        yield client


async def _herd(
    scene: Scene, client: Client, market: Market, readers: int, settings: Mapping[str, str]
) -> int:
    """How often the origin was asked for what `readers` wanted at once, of keys of five roles."""
    platform = scene.platform
    counting = CountingProxy(platform.api_url, port=platform.ports.take(), path="/rest/v1/products", slow=0.3)
    async with counting:
        instances = [
            platform.start_functions(f"counted-{n}", **settings, SUPABASE_URL=counting.url)
            for n in range(ADAPTERS)
        ]
        callers = readers_of_products(market)

        async def warm() -> bool:
            answer = await send(client, instances[0].url, callers[0], "GET", "/pms/products?limit=1")
            return answer.headers["x-cache"] == "hit"

        if "REDIS_URL" not in settings:
            await eventually(warm, 30, what="the cache is in use")
            grown_up(platform.addresses.redis_url)
        counting.reads = 0
        answers = await asyncio.gather(
            *(
                send(client, instances[n % ADAPTERS].url, callers[n % len(callers)], "GET", COLD)
                for n in range(readers)
            )
        )
        wrong = [answer.text for answer in answers if answer.status != 200]
        assert not wrong, f"{len(wrong)} readers were refused: {wrong[0]}"
        assert len({answer.text for answer in answers}) == 1, (
            "readers of one thing were told different things"
        )
        for instance in instances:
            await asyncio.to_thread(instance.process.stop)
    return counting.reads


async def _board(scene: Scene, client: Client, adapter: str, market: Market) -> Board:
    """As everything is before the storm, at a place of the log that a read tells."""
    board = Board()
    answer = await send(client, adapter, market.caller("owner"), "GET", "/pms/products?limit=1&sort=-name")
    assert answer.seq is not None, answer.text
    async with direct(scene.platform.admin_db_url) as db:
        rows = await (await db.execute(VERSIONS, {"t": market.tenant.id})).fetchall()
    for kind, key, version in rows:
        board.write((kind, key), answer.seq, version)
    return board


class _Weather:
    def __init__(self, scene: Scene, worker: WorkerProcess, every: float, chance: random.Random) -> None:
        self._scene, self._worker, self._every, self._chance = scene, worker, every, chance
        self.redis_killed = self.worker_killed = 0

    async def rage(self) -> None:
        redis = self._scene.platform.redis
        while True:
            await asyncio.sleep(self._every * self._chance.uniform(0.5, 1))
            await asyncio.to_thread(redis.kill)
            self.redis_killed += 1
            await asyncio.sleep(self._chance.uniform(0, self._every / 4))
            await asyncio.to_thread(redis.start)
            await asyncio.sleep(self._every * self._chance.uniform(0.5, 1))
            self._worker.kill()
            self.worker_killed += 1
            await asyncio.sleep(self._chance.uniform(0, self._every / 4))
            await self._worker.start()


def _report(
    clients: Clients, weather: _Weather, cold: int, operations: int, rate: float, seconds: float
) -> Report:
    judge = clients.judge
    faults = [*judge.faults, *(f"{n} reads or answers {kind}" for kind, n in judge.wrong.items())]
    if cold != 1:
        faults.append(f"a cold key was read {cold} times at the origin")
    if judge.oldest > OLDEST:
        faults.append(f"a read was {judge.oldest:.1f} s old")
    facts: dict[str, Fact] = {
        "operations": clients.done,
        "operations_per_s": round(rate),
        "origin_reads_of_a_cold_key": cold,
        "reads": judge.read,
        "reads_with_min_seq": judge.asking,
        "too_old": judge.wrong["too old"] + judge.wrong["older than it says"],
        "of_another_tenant": judge.wrong["of another tenant"],
        "errors": judge.wrong["an error"],
        "refused_rightly": clients.refusals,
        "writes_without_seq": clients.unanswered.total(),
        "oldest_without_min_seq_ms": round(judge.oldest * 1000),
        "redis_killed": weather.redis_killed,
        "worker_killed": weather.worker_killed,
        **{f"from_{source}": n for source, n in sorted(judge.sources.items())},
        **spread(clients.taken),
    }
    if clients.done < operations:
        faults.append(f"{operations - clients.done} operations were not made")
    sound = judge.read - min(judge.read, judge.wrong.total())
    return Report("edge_cache", seconds, Judgement(clients.writes, judge.read, sound, 0, 0), facts, faults)
