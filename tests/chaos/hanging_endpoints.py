"""Some endpoints hang; what the others notice of it, against the same load without."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

from tests.bench.figures import middle, spread
from tests.bench.outlets import Outlets, open_outlets
from tests.bench.sink_process import Arrival, SinkProcess
from tests.chaos.report import Fact, Report
from tests.chaos.tally import tally
from tests.flow.ledger import Judgement, delivered
from tests.flow.offering import by_path, offer
from tests.flow.scene import Scene
from tests.flow.writers import Commit

TENANTS = 10
ENDPOINTS = 10
"""Of each tenant; every event goes to all of its tenant's."""
PRODUCTS = 50
HANG_SECONDS = 30
HANGING_AT_ONCE = 50
"""Their max_concurrency: without a fair share they would hold every slot of the worker."""
MOST_SLOTS = 200
GROWTH = 0.10
SETTLED_SECONDS = 0.5


async def hanging_endpoints(
    scene: Scene,
    *,
    per_second: float = 200.0,
    seconds: float = 10.0,
    rounds: int = 10,
    growth: float = GROWTH,
) -> Report:
    """10 of 100 endpoints hang for 30 s in every other run: p99 of the others grows by less than 10 %."""
    started = time.monotonic()
    db_url = scene.platform.db_url
    async with SinkProcess(scene.platform) as sink:
        tenants = [
            await open_outlets(
                scene, sink, products=PRODUCTS, endpoints=ENDPOINTS, hanging=1, hang_seconds=HANG_SECONDS
            )
            for _ in range(TENANTS)
        ]
        for outlets in tenants:
            await _let_hang_widely(outlets)
        taken: dict[bool, list[list[float]]] = {False: [], True: []}
        commits: list[Commit] = []
        products = [product for many in zip(*(o.products for o in tenants), strict=True) for product in many]
        # half of what hangs in one run would fill them
        slots = min(MOST_SLOTS, round(per_second / ENDPOINTS * seconds / 2))
        async with scene.worker(WORKER_SEND_CONCURRENCY=str(slots)) as worker:
            await worker.until_realtime("live", 30)
            for turn in range(-1, 2 * rounds):  # the first warms up and does not count
                hanging = turn % 2 == 1
                if hanging:
                    await sink.break_down()
                made = await offer(
                    db_url, products, per_second=per_second / ENDPOINTS, seconds=seconds, rows=1
                )
                # what was committed last is to come before all that hung is answered at once
                await asyncio.sleep(SETTLED_SECONDS)
                await sink.mend()
                await delivered(db_url, 120)
                commits += made
                if turn >= 0:
                    taken[hanging].append(await _others(db_url, tenants, made, await sink.arrivals()))
        arrivals = await sink.arrivals()
        judgements = [
            (await tally(db_url, o, sink.url, commits=_of(o, commits), arrivals=_at(o, arrivals))).judgement
            for o in tenants
        ]
    # of each run apart: a pause of the machine, or of Postgres, falls into one of them
    without, beside = [middle([spread(run) for run in taken[hanging]]) for hanging in (False, True)]
    grown = beside["p99_ms"] / without["p99_ms"] - 1
    pooled = [spread(itertools.chain(*taken[hanging]))["p99_ms"] for hanging in (False, True)]
    facts: dict[str, Fact] = {
        "endpoints": TENANTS * ENDPOINTS,
        "hanging": TENANTS,
        "slots": slots,
        "offered_per_s": per_second,
        "runs": rounds,
        "samples": sum(map(len, taken[True])),
        **{f"without_{name}": value for name, value in without.items()},
        **{f"beside_{name}": value for name, value in beside.items()},
        "p99_of_runs_without_ms": _each(taken[False]),
        "p99_of_runs_beside_ms": _each(taken[True]),
        "p99_growth": round(grown, 3),
        "p99_growth_pooled": round(pooled[1] / pooled[0] - 1, 3),
    }
    faults = [f"p99 of the others grew by {grown:.1%}"] if grown >= growth else []
    return Report("hanging_endpoints", time.monotonic() - started, _sum(judgements), facts, faults)


def _each(runs: Sequence[Sequence[float]]) -> str:
    return " ".join(f"{spread(run)['p99_ms']:.0f}" for run in runs)


async def _let_hang_widely(outlets: Outlets) -> None:
    answer = await outlets.shop.rest.patch(
        "/webhook_endpoints",
        params={"tenant_id": f"eq.{outlets.tenant}", "url": "like.*/hang/*"},
        json={"max_concurrency": HANGING_AT_ONCE, "timeout_seconds": HANG_SECONDS},
    )
    assert answer.is_success, answer.text


async def _others(
    db_url: str, tenants: Sequence[Outlets], commits: Sequence[Commit], arrivals: Sequence[Arrival]
) -> list[float]:
    """Seconds from commit to arrival of every delivery to an endpoint that does not hang."""
    taken: list[float] = []
    for outlets in tenants:
        for path, seconds in await by_path(db_url, outlets.tenant, _of(outlets, commits), arrivals):
            if not path.startswith("/hang/"):
                taken.append(seconds)
    return taken


def _of(outlets: Outlets, commits: Sequence[Commit]) -> list[Commit]:
    own = set(outlets.products)
    return [commit for commit in commits if commit.product in own]


def _at(outlets: Outlets, arrivals: Sequence[Arrival]) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.path in outlets.secrets]


def _sum(judgements: Sequence[Judgement]) -> Judgement:
    return Judgement(
        committed=sum(j.committed for j in judgements),
        events=sum(j.events for j in judgements),
        received=sum(j.received for j in judgements),
        duplicates=sum(j.duplicates for j in judgements),
        explained=sum(j.explained for j in judgements),
        faults=[fault for j in judgements for fault in j.faults],
    )
