"""A session that holds the xmin horizon, as dashboards, dumps and replication slots do, under steady load."""

from __future__ import annotations

import time

from tests.bench.connections import direct
from tests.bench.figures import spread
from tests.bench.outlets import open_outlets
from tests.bench.sink_process import SinkProcess
from tests.chaos.report import Fact, Report
from tests.chaos.tally import tally
from tests.flow.ledger import delivered
from tests.flow.offering import by_path, offer, rate
from tests.flow.scene import Scene
from tests.flow.writers import Commit

CHANGES_A_PRODUCT = 30
"""At most: more would measure the long chains of the writer's own rows."""
ROWS, WRITERS = 10, 2
SHARE = 0.99
SOON = 5.0
"""Seconds within which a delivery must have come to count for its minute."""
TABLES = ["private.outbox", "queue.deliveries", "private.tenant_log", "queue.leases"]
DEAD = """
select t.name, s.n_dead_tup, pg_total_relation_size(s.relid)
from unnest(%s::text[]) t (name) join pg_stat_all_tables s on s.relid = t.name::regclass
"""


async def xmin_held(
    scene: Scene,
    *,
    minutes: int = 10,
    per_second: float = 1000.0,
    minute: float = 60.0,
    share: float = SHARE,
) -> Report:
    """A repeatable read transaction is open for 10 minutes at 1,000/s: 99 % of that at least is delivered."""
    started = time.monotonic()
    db_url = scene.platform.db_url
    products = max(500, round(per_second * minutes * minute / CHANGES_A_PRODUCT))
    async with SinkProcess(scene.platform) as sink, scene.worker() as worker:
        outlets = await open_outlets(scene, sink, products=products, endpoints=1, at_once=100)
        await worker.until_realtime("live", 30)
        of_minutes: list[list[Commit]] = []
        async with direct(db_url) as holder:
            await holder.execute("begin isolation level repeatable read")
            await holder.execute("select count(*) from public.tenants")
            for turn in range(minutes):
                first = turn * round(per_second * minute) % len(outlets.products)
                in_turn = [*outlets.products[first:], *outlets.products[:first]]
                of_minutes.append(
                    await offer(
                        db_url, in_turn, per_second=per_second, seconds=minute, rows=ROWS, writers=WRITERS
                    )
                )
            dead = await _dead(db_url)
            await delivered(db_url, 600)
            await holder.execute("rollback")
        arrivals = await sink.arrivals()
        commits = [commit for of_one in of_minutes for commit in of_one]
        result = await tally(db_url, outlets, sink.url, commits=commits, arrivals=arrivals)
        facts: dict[str, Fact] = {"offered_per_s": per_second, "minutes": minutes, **dead}
        shares: list[float] = []
        for number, of_one in enumerate(of_minutes, start=1):
            taken = [seconds for _, seconds in await by_path(db_url, outlets.tenant, of_one, arrivals)]
            shares.append(sum(seconds <= SOON for seconds in taken) / (per_second * minute))
            facts[f"minute_{number}"] = (
                f"committed {rate(of_one):.0f}/s, {shares[-1]:.1%} delivered within {SOON:g} s,"
                f" p99 {spread(taken)['p99_ms']:.0f} ms"
            )
    whole = sum(shares) / len(shares)
    facts["delivered_share"] = round(whole, 4)
    faults = [f"{whole:.1%} of the offered rate was delivered in time"] if whole < share else []
    return Report("xmin_held", time.monotonic() - started, result.judgement, facts, faults)


async def _dead(db_url: str) -> dict[str, Fact]:
    """Dead rows, as the statistics tell, and sizes in MB with indexes."""
    async with direct(db_url) as connection:
        rows = await (await connection.execute(DEAD, (TABLES,))).fetchall()
    facts: dict[str, Fact] = {}
    for name, dead, size in rows:
        facts[f"dead_in_{name}"] = int(dead)
        facts[f"mb_of_{name}"] = round(int(size) / 1048576, 1)
    return facts
