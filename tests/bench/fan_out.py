"""One event for 100,000 endpoints of one tenant: what its writer, its queue and another tenant notice."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from tests.bench.connections import Connection, direct, dispatch_all
from tests.bench.figures import Line, spread
from tests.bench.outlets import Outlets, open_outlets
from tests.bench.sink_process import SinkProcess
from tests.eventually import eventually
from tests.flow.offering import by_path, offer
from tests.flow.scene import Scene
from tests.flow.writers import CHANGE

AIM_COMMIT_MS = 5.0
# as private.create_webhook_endpoint does it, for many at once; each gets its lane by trigger
ENDPOINTS: LiteralString = """
with made as (
  insert into public.webhook_endpoints (tenant_id, url, events)
  select %s, %s || '/fan/' || n, '{product.updated}' from generate_series(1, %s) n
  returning id
)
insert into private.webhook_secrets (secret_id, endpoint_id)
select private.put_secret('webhook ' || m.id || ' ' || gen_random_uuid(),
  'whsec_' || encode(extensions.gen_random_bytes(32), 'base64')), m.id
from made m
"""
QUEUED = """
select (select count(*) from queue.deliveries where tenant_id = %s)
  + (select count(*) from queue.retries where tenant_id = %s)
  + (select count(*) from public.webhook_attempts where tenant_id = %s and outcome <> 'retry')
"""


@dataclass(frozen=True)
class Size:
    """`per_second`, `seconds`: the other tenant's load, alone and while events fan out `rounds` times."""

    endpoints: int = 100_000
    rounds: int = 2
    commits: int = 200
    per_second: float = 50.0
    seconds: float = 8.0


async def fan_out(scene: Scene, size: Size | None = None) -> Line:
    """Commit times at a tenant with many endpoints and with none; until all is queued; another's waits."""
    size = size or Size()
    async with SinkProcess(scene.platform) as sink, direct(scene.platform.admin_db_url) as admin:
        other = await open_outlets(scene, sink, products=50, endpoints=1)
        wide, bare = [await scene.shop(products=1, endpoints=0) for _ in range(2)]
        started = time.perf_counter()
        await admin.execute(ENDPOINTS, (wide.tenant.id, sink.url, size.endpoints))
        made_in = time.perf_counter() - started
        await dispatch_all(admin)
        await admin.execute("analyze")
        async with scene.worker() as worker:
            await worker.until_realtime("live", 60)
            alone = await _another(scene, sink, other, size.per_second, size.seconds)
            fanning = asyncio.create_task(_fan_out(scene, wide.tenant.id, wide.products[0], size))
            beside = [await _another(scene, sink, other, size.per_second, size.seconds)]
            while not fanning.done():
                beside.append(await _another(scene, sink, other, size.per_second, 2.0))
            meanwhile, queued = await fanning
        to_wide, to_bare = [], []
        for turn in range(size.commits + 10):  # nobody dispatches them; the first warm up
            taken = [await _commit(admin, shop.products[0]) for shop in (wide, bare)]
            if turn >= 10:
                to_wide.append(taken[0])
                to_bare.append(taken[1])
    return {
        "endpoints": size.endpoints,
        "events": size.rounds,
        "endpoints_made_s": round(made_in, 1),
        "commit": spread(to_wide),
        "commit_without_endpoints": spread(to_bare),
        "commit_while_others_fan_out": spread(meanwhile),
        "commit_aim_ms": AIM_COMMIT_MS,
        "met": spread(to_wide)["p99_ms"] < AIM_COMMIT_MS,
        "all_queued": spread(queued),
        "another_tenant": {
            "offered_per_s": size.per_second,
            "alone": spread(alone),
            "meanwhile": spread(seconds for of_one in beside for seconds in of_one),
        },
    }


async def _another(
    scene: Scene, sink: SinkProcess, outlets: Outlets, per_second: float, seconds: float
) -> Sequence[float]:
    db_url = scene.platform.db_url
    commits = await offer(db_url, outlets.products, per_second=per_second, seconds=seconds, rows=1)
    (path,) = outlets.secrets

    async def all_came() -> list[float]:
        arrivals = [arrival for arrival in await sink.arrivals() if arrival.path == path]
        taken = [took for _, took in await by_path(db_url, outlets.tenant, commits, arrivals)]
        assert len(taken) == len(commits), f"{len(taken)} of {len(commits)} came"
        return taken

    return await eventually(all_came, 120, interval=0.5)


async def _fan_out(
    scene: Scene, tenant: uuid.UUID, product: uuid.UUID, size: Size
) -> tuple[list[float], list[float]]:
    """Seconds that the commits took, and until all was queued."""
    commits: list[float] = []
    queued: list[float] = []
    async with direct(scene.platform.admin_db_url) as connection:
        for turn in range(1, size.rounds + 1):
            commits.append(await _commit(connection, product))
            at = time.perf_counter()
            await _until_queued(connection, tenant, turn * size.endpoints)
            queued.append(time.perf_counter() - at)
    return commits, queued


async def _commit(connection: Connection, product: uuid.UUID) -> float:
    started = time.perf_counter()
    await connection.execute(CHANGE, (product,))
    return time.perf_counter() - started


async def _until_queued(connection: Connection, tenant: uuid.UUID, count: int) -> None:
    async def all_queued() -> bool:
        row = await (await connection.execute(QUEUED, (tenant, tenant, tenant))).fetchone()
        assert row is not None
        assert row[0] >= count, f"{row[0]} of {count} are queued"
        return True

    await eventually(all_queued, 300, interval=0.05)
