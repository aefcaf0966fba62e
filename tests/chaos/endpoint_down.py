"""An endpoint that is down while its queue grows: how often it is tried, and how it is drained afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence

from tests.bench.outlets import Outlets, open_outlets
from tests.bench.sink_process import Arrival, SinkProcess
from tests.chaos.report import Fact, Report
from tests.chaos.tally import tally
from tests.eventually import eventually
from tests.flow.ledger import delivered
from tests.flow.scene import Scene
from tests.flow.writers import burst

PRODUCTS = 500
AT_ONCE = 10
FAILURES_TO_PARK = 5
"""As in worker/webhooks/breaker.py."""
PROBE_SECONDS, LONGEST_PROBE_SECONDS = 30.0, 36.0
HERD_SECONDS = 10.0
"""Attempts that were under way or due when the lane was parked come within this time of the first."""
SHARE, OVERSHOOT = 0.95, 0.05
LINGER_NOTHING = struct.pack("ii", 1, 0)


async def endpoint_down(
    scene: Scene, *, queued: int = 100_000, down: float = 95.0, rate_limit: int = 1000
) -> Report:
    """100,000 wait for an endpoint that resets every connection: one probe each 30 s; then it is drained."""
    started = time.monotonic()
    db_url = scene.platform.db_url
    sink = SinkProcess(scene.platform)
    outlets = await open_outlets(scene, sink, products=PRODUCTS, endpoints=1, at_once=AT_ONCE)
    await _set_rate_limit(outlets, rate_limit)
    commits = await burst(db_url, outlets.products, rounds=queued // PRODUCTS)
    async with scene.worker() as worker:
        async with _closed_door(sink.port) as attempts:
            await eventually(lambda: attempts, 30, what="the first attempt")
            until = attempts[0] + down
            await eventually(lambda: time.time() >= until, down + 30, interval=0.1)
            metrics = await worker.metrics()
        async with sink:
            opened_at = time.time()
            await sink.until(len(commits), LONGEST_PROBE_SECONDS + 60 + 3 * queued / rate_limit)
            await delivered(db_url, 60)
            arrivals = await sink.arrivals()
            result = await tally(db_url, outlets, sink.url, commits=commits, arrivals=arrivals)
    herd = [at for at in attempts if at <= attempts[0] + HERD_SECONDS]
    probes = attempts[len(herd) :]
    drained_in = arrivals[-1].at - arrivals[0].at
    facts: dict[str, Fact] = {
        "down_s": down,
        "attempts_before_parked": len(herd),
        "probes": len(probes),
        "charged": int(metrics["pms_webhook_attempts_total{retry}"]),
        "first_after_s": round(arrivals[0].at - opened_at, 1),
        "drained_per_s": round(len(arrivals) / drained_in),
        "busiest_second": busiest_second(arrivals),
        "rate_limit_per_s": rate_limit,
    }
    faults = _of_attempts(herd, probes, down)
    faults += _of_rate(len(arrivals) / drained_in, busiest_second(arrivals), rate_limit)
    return Report("endpoint_down", time.monotonic() - started, result.judgement, facts, faults)


async def _set_rate_limit(outlets: Outlets, per_second: int) -> None:
    """Limits all endpoints of the tenant."""
    filters = {"tenant_id": f"eq.{outlets.tenant}"}
    limit = {"rate_limit_per_second": per_second}
    answer = await outlets.shop.rest.patch("/webhook_endpoints", params=filters, json=limit)
    assert answer.is_success, answer.text


def busiest_second(arrivals: Sequence[Arrival]) -> int:
    """The most requests that came within any one second."""
    times = sorted(arrival.at for arrival in arrivals)
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def _of_attempts(herd: Sequence[float], probes: Sequence[float], down: float) -> list[str]:
    faults: list[str] = []
    if len(herd) > AT_ONCE + FAILURES_TO_PARK:
        faults.append(f"{len(herd)} attempts before the lane was parked")
    gaps = [later - earlier for earlier, later in zip([herd[-1], *probes], probes, strict=False)]
    if hasty := [gap for gap in gaps if gap < PROBE_SECONDS - 1]:
        faults.append(f"{len(hasty)} probes came within {min(hasty):.1f} s of the one before")
    if len(probes) < int((down - HERD_SECONDS) / (LONGEST_PROBE_SECONDS + 1)):
        faults.append(f"only {len(probes)} probes in {down:g} s")
    return faults


def _of_rate(rate: float, busiest: int, limit: int) -> list[str]:
    faults: list[str] = []
    if rate < SHARE * limit:
        faults.append(f"drained at {rate:.0f}/s of {limit}/s")
    if busiest > (1 + OVERSHOOT) * limit:
        faults.append(f"{busiest} came within a second, {limit} are allowed")
    return faults


@contextlib.asynccontextmanager
async def _closed_door(port: int) -> AsyncIterator[list[float]]:
    """Resets every connection to `port`; the unix seconds at which each came.

    A port where nobody listens does the same to the caller, and keeps no count.
    """
    attempts: list[float] = []
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    listening.setblocking(False)

    async def turn_away() -> None:
        while True:
            caller, _ = await asyncio.get_running_loop().sock_accept(listening)
            attempts.append(time.time())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOTHING)
            caller.close()

    task = asyncio.create_task(turn_away())
    try:
        yield attempts
    finally:
        task.cancel()
        await asyncio.wait([task])
        listening.close()
