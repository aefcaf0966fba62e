"""Without a bell: the Realtime server away for a while, or Realtime switched off: the slow poll is left."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from tests.chaos.report import Fact, Report
from tests.flow.ledger import Incident, delivered, judge, latencies
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.writers import Commit, Writers

POLL = 1.0
"""Seconds; WORKER_POLL_SECONDS."""
MARGIN = 0.75
"""Seconds for the work itself, on a machine that is shared."""
SPARSE = 4.0
"""Writes a second: too few for the worker to stay awake, so that each waits for the bell or the poll."""
RECOVERY = 60.0


async def realtime_away(scene: Scene, *, away: float = 120.0, around: float = 10.0) -> Report:
    """Steady writes for `around` s, `away` s without the Realtime server, and `around` s after its return."""
    started = time.monotonic()
    shop = await scene.shop()
    writers = Writers(scene.platform.db_url, shop.products)
    async with scene.worker(WORKER_POLL_SECONDS=str(POLL)) as worker:
        await worker.until_realtime("live", 30)
        before = await writers.write(count=_count(around), per_second=SPARSE)
        began = time.time()
        scene.platform.realtime.kill()
        during = await writers.write(count=_count(away), per_second=SPARSE)
        await asyncio.to_thread(scene.platform.realtime.start)
        back_at = time.time()
        await worker.until_realtime("live", RECOVERY)
        live_after = time.time() - back_at
        after = await writers.write(count=_count(around), per_second=SPARSE)
        await delivered(scene.platform.db_url, 30)
        incident = Incident("Realtime away", began, back_at)
        judgement = await judge(scene.platform.db_url, shop, shop.hook, writers.commits, [incident])
    facts: dict[str, Fact] = {"away_s": round(away, 1), "live_again_after_s": round(live_after, 2)}
    faults = _bounded("while Realtime was away", shop, during)
    for name, commits in (("before", before), ("away", during), ("after", after)):
        facts |= _figures(name, shop, commits)
    for name in ("before", "after"):
        # a poll alone would give half of its interval
        if float(facts[f"{name}_p50_ms"]) > POLL * 1000 / 4:
            faults.append(f"{name} the outage no bell was heard: p50 is {facts[f'{name}_p50_ms']} ms")
    return Report("realtime_away", time.monotonic() - started, judgement, facts, faults)


async def realtime_off(scene: Scene, *, seconds: float = 15.0) -> Report:
    """The worker runs with WORKER_REALTIME=off: every change arrives within the poll interval."""
    started = time.monotonic()
    shop = await scene.shop()
    writers = Writers(scene.platform.db_url, shop.products)
    settings = {"WORKER_REALTIME": "off", "WORKER_POLL_SECONDS": str(POLL)}
    async with scene.worker(**settings) as worker:
        await worker.until_realtime("off", 5)
        sparse = await writers.write(count=_count(seconds), per_second=SPARSE)
        dense = await writers.write(count=round(seconds * 50), per_second=50)
        await delivered(scene.platform.db_url, 30)
        judgement = await judge(scene.platform.db_url, shop, shop.hook, writers.commits)
    facts: dict[str, Fact] = {
        "poll_s": POLL,
        **_figures("sparse", shop, sparse),
        **_figures("dense", shop, dense),
    }
    faults = _bounded("with Realtime off", shop, [*sparse, *dense])
    return Report("realtime_off", time.monotonic() - started, judgement, facts, faults)


def _count(seconds: float) -> int:
    return round(seconds * SPARSE)


def _figures(name: str, shop: Shop, commits: Sequence[Commit]) -> dict[str, Fact]:
    taken = latencies(shop.hook, commits).values()
    return {
        f"{name}_p50_ms": round(statistics.median(taken) * 1000, 1),
        f"{name}_max_ms": round(max(taken) * 1000, 1),
    }


def _bounded(when: str, shop: Shop, commits: Sequence[Commit]) -> list[str]:
    late = [taken for taken in latencies(shop.hook, commits).values() if taken > POLL + MARGIN]
    return [f"{when} {len(late)} of {len(commits)} took up to {max(late):.2f} s"] if late else []
