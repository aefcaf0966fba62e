"""A crash of Postgres in mid-delivery: `pg_ctl -m immediate`, then WAL replay, with syncing to disk on."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.report import Fact, Report
from tests.eventually import eventually
from tests.flow.ledger import Incident, delivered, judge
from tests.flow.receiver import slow
from tests.flow.scene import Scene
from tests.flow.writers import Writers, burst

PRODUCTS = 50
RECOVERY = 90.0


async def postgres_restarted(
    scene: Scene, *, backlog: int = 3000, per_second: float = 100.0, seconds: float = 15.0
) -> Report:
    """Writers go on at `per_second` through a crash that comes while a `backlog` is being delivered."""
    started = time.monotonic()
    db_url = scene.platform.db_url
    shop = await scene.shop(products=PRODUCTS)
    shop.hook.behave = slow(0.003)
    writers = Writers(db_url, shop.products)
    async with scene.worker() as worker:
        await worker.until_realtime("live", 30)
        writing = asyncio.create_task(writers.write(count=round(seconds * per_second), per_second=per_second))
        await eventually(lambda: len(writers.commits) >= per_second, what="a second of steady writes")
        commits = await burst(db_url, shop.products, rounds=backlog // PRODUCTS)
        await eventually(lambda: len(shop.hook.accepted_ids) >= backlog // 4, 60, interval=0.005)
        began = time.time()
        await asyncio.to_thread(scene.platform.restart_postgres, "immediate")
        ended = time.time()
        await writing
        await delivered(db_url, RECOVERY)
        first = min(hit.arrived_at for hit in shop.hook.accepted if hit.arrived_at > ended)
        await worker.until_realtime("live", RECOVERY)
        judgement = await judge(
            db_url, shop, shop.hook, [*commits, *writers.commits], [Incident("crash", began, ended)]
        )
        ready = (await worker.readiness())["ready"]
    facts: dict[str, Fact] = {
        "postgres_away_s": round(ended - began, 2),
        "first_webhook_after_s": round(first - ended, 2),
        "commits_in_doubt": writers.in_doubt,
    }
    faults = [] if ready else ["the worker is not ready after the crash"]
    return Report("postgres_restarted", time.monotonic() - started, judgement, facts, faults)
