"""From commit to webhook received, and where the time goes. One machine, so one clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pyreqwest.client import ClientBuilder

from tests.bench.connections import direct
from tests.bench.figures import Line, spread, timed
from tests.flow.ledger import change_of, delivered, judge, latencies
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.writers import Change, Commit, Writers

PER_SECOND = 50.0
SECONDS = 20.0
P50_MS, P99_MS = 25.0, 150.0
EVENTS = """
select e.entity_id, e.version, extract(epoch from e.dispatched_at)::float8,
  extract(epoch from a.started_at)::float8
from public.events e join public.webhook_attempts a on a.event_id = e.id
where e.tenant_id = %s and a.attempt = 1
"""


async def latency(scene: Scene) -> Line:
    """Single-row updates from 4 sessions at 50/s; sparse ones, which need the bell; and without Realtime."""
    shop = await scene.shop()
    whole, stages = await _run(scene, shop, per_second=PER_SECOND, seconds=SECONDS)
    sparse, sparse_stages = await _run(scene, shop, per_second=4, seconds=8)
    off, _ = await _run(scene, shop, per_second=PER_SECOND, seconds=8, WORKER_REALTIME="off")
    bare = await _bare_posts(scene, shop)
    return {
        "per_s": PER_SECOND,
        **whole,
        "stages": stages,
        "target": {"p50_ms": P50_MS, "p99_ms": P99_MS},
        "met": whole["p50_ms"] < P50_MS and whole["p99_ms"] < P99_MS,
        "sparse": {**sparse, "stages": sparse_stages},
        "realtime_off": off,
        "reference": {"bare_post": bare},
    }


async def _run(
    scene: Scene, shop: Shop, *, per_second: float, seconds: float, **settings: str
) -> tuple[dict[str, float], dict[str, object]]:
    writers = Writers(scene.platform.db_url, shop.products)
    async with scene.worker(**settings) as worker:
        await worker.until_realtime("off" if settings else "live", 30)
        await writers.write(count=round(per_second), per_second=per_second)  # connections, caches, plans
        commits = await writers.write(count=round(per_second * seconds), per_second=per_second)
        await delivered(scene.platform.db_url, 30)
        numbers = await worker.metrics()
    judgement = await judge(scene.platform.db_url, shop, shop.hook, writers.commits)
    assert not judgement.faults, judgement.faults
    stage = "pms_webhook_stage_seconds_{}{{read_to_sent}}"
    waited = numbers[stage.format("sum")] / numbers[stage.format("count")]
    stages = await _stages(scene, shop, commits)
    whole = spread(latencies(shop.hook, commits).values())
    return whole, {**stages, "read_to_sent_mean_ms": round(waited * 1000, 2)}


async def _stages(scene: Scene, shop: Shop, commits: Sequence[Commit]) -> dict[str, object]:
    async with direct(scene.platform.db_url) as connection:
        rows = await (await connection.execute(EVENTS, (shop.tenant.id,))).fetchall()
    log: dict[Change, tuple[float, float]] = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    arrived = {change_of(hit): hit.arrived_at for hit in shop.hook.hits}
    return {
        # the bell or the look that is due, and the call to the database
        "commit_to_dispatch": spread(log[c.change][0] - c.at for c in commits),
        # dispatch itself, its answer, and the read of the lane
        "dispatch_to_sent": spread(log[c.change][1] - log[c.change][0] for c in commits),
        "sent_to_received": spread(arrived[c.change] - log[c.change][1] for c in commits),
    }


async def _bare_posts(scene: Scene, shop: Shop) -> dict[str, float]:
    """The same client posting one message at a time to the same receiver."""
    hook, sample = scene.receiver.hook("bare-post"), shop.hook.hits[-1]
    body = sample.body.decode()

    async with ClientBuilder().http1_only().no_proxy().build() as client:

        async def post() -> None:
            async with asyncio.timeout(5):
                await (
                    client.post(hook.url)
                    .headers({"content-type": "application/json"})
                    .body_text(body)
                    .build()
                    .send()
                )

        hook.trust("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        return spread(await timed(post, 500))
