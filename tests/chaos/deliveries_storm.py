"""Three workers under fire: one is killed every few seconds, Realtime goes away, and Postgres crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from tests.bench.connections import Connection, direct
from tests.bench.outlets import open_outlets
from tests.bench.sink_process import SinkProcess
from tests.chaos.report import Fact, Report
from tests.chaos.tally import Delivery, tally
from tests.eventually import eventually
from tests.flow.ledger import Incident, delivered
from tests.flow.scene import Scene
from tests.flow.worker_process import WorkerProcess
from tests.flow.writers import Writers, burst

WORKERS = 3
ENDPOINTS = 20
PRODUCTS = 100
LEASE_SECONDS = 4
"""The lanes of a killed worker are free when its lease has run out."""
STEADY = 5.0
"""Commits a second that go on through everything, each for all endpoints."""
PATIENCE = 1800.0
UNSETTLED = 5000
"""More than a worker has sent of one lane and not settled."""

LANES_OF = """
select l.id from queue.lanes l join queue.leases s on s.id = l.lease_id where s.worker = %s
"""
OWED = """
select e.url, v.id
from unnest(%s::bigint[]) lane (id)
join queue.lanes l on l.id = lane.id
join public.webhook_endpoints e on e.id = l.endpoint_id
cross join lateral (
  select d.tenant_id, d.seq, d.dispatched_on from queue.deliveries d
  where d.lane_id = lane.id order by d.id limit %s
) d
join public.events v on v.tenant_id = d.tenant_id and v.seq = d.seq and v.dispatched_on = d.dispatched_on
"""


async def deliveries_storm(
    scene: Scene, *, deliveries: int = 200_000, every: float = 5.0, away: float = 10.0
) -> Report:
    """200,000 deliveries, a kill -9 of one of three workers every 5 s, Realtime away, and a crash."""
    started = time.monotonic()
    platform, db_url = scene.platform, scene.platform.db_url
    async with SinkProcess(platform) as sink:
        outlets = await open_outlets(scene, sink, products=PRODUCTS, endpoints=ENDPOINTS)
        commits = await burst(db_url, outlets.products, rounds=deliveries // PRODUCTS // ENDPOINTS)
        names = [f"storm-{n}" for n in range(1, WORKERS + 1)]
        settings = {"WORKER_LEASE_SECONDS": str(LEASE_SECONDS)}
        workers = {name: scene.worker(WORKER_NAME=name, **settings) for name in names}
        await asyncio.gather(*(worker.start() for worker in workers.values()))
        storm = _Storm(scene, sink, workers)
        writers = Writers(db_url, outlets.products)
        writing = asyncio.create_task(_go_on(writers))
        began = time.monotonic()
        await storm.rage(deliveries, every=every, away=away)
        writing.cancel()
        await asyncio.wait([writing])
        await delivered(db_url, PATIENCE)
        seconds = time.monotonic() - began
        result = await tally(
            db_url,
            outlets,
            sink.url,
            commits=[*commits, *writers.commits],
            arrivals=await sink.arrivals(),
            incidents=storm.incidents,
        )
        codes = [await worker.stop() for worker in workers.values()]
    at_crash = sum(
        count for count, i in zip(result.in_flight, storm.incidents, strict=True) if i.what == "crash"
    )
    bound = sum(storm.in_flight) + at_crash
    faults = [f"a worker's exit code was {code}" for code in codes if code != 0]
    if result.judgement.duplicates > bound:
        faults.append(f"{result.judgement.duplicates} duplicates, but {bound} were in flight")
    if not (storm.in_flight and at_crash):
        faults.append("the storm was none: no kill, or nothing was in flight at the crash")
    facts: dict[str, Fact] = {
        "workers": WORKERS,
        "endpoints": ENDPOINTS,
        "kills": len(storm.in_flight),
        "in_flight_at_kills": " ".join(map(str, storm.in_flight)),
        "in_flight_at_crash": at_crash,
        "commits_in_doubt": writers.in_doubt,
        "deliveries_per_s": round(result.judgement.received / seconds),
    }
    return Report("deliveries_storm", time.monotonic() - started, result.judgement, facts, faults)


async def _go_on(writers: Writers) -> None:
    await writers.write(count=1_000_000, per_second=STEADY)


class _Storm:
    def __init__(self, scene: Scene, sink: SinkProcess, workers: dict[str, WorkerProcess]) -> None:
        self._scene, self._sink, self._workers = scene, sink, workers
        self.incidents: list[Incident] = []
        self.in_flight: list[int] = []

    async def rage(self, deliveries: int, *, every: float, away: float) -> None:
        """Until the sink has seen `deliveries`: Realtime goes at a quarter of them, Postgres at a half."""
        crashed, realtime = False, None
        for name in self._in_turn():
            came = await self._lull(deliveries, every)
            if came >= deliveries and crashed:
                break
            if realtime is None and came >= deliveries // 4:
                realtime = asyncio.create_task(self._without_realtime(away))
            if not crashed and came >= deliveries // 2:
                crashed = True
                await self._crash()
            else:
                await self._kill(name)
        if realtime is not None:
            await realtime

    def _in_turn(self) -> Sequence[str]:
        return list(self._workers) * 10_000

    async def _lull(self, deliveries: int, every: float) -> int:
        """Until `every` s are over, or all has come; how much has."""
        until = time.monotonic() + every

        async def over() -> bool:
            return time.monotonic() >= until or (await self._sink.counts()).distinct >= deliveries

        await eventually(over, every + 30, interval=0.1)
        return (await self._sink.counts()).distinct

    async def _kill(self, name: str) -> None:
        worker = self._workers[name]
        async with direct(self._scene.platform.db_url) as connection:
            lanes = await _lanes(connection, name)
            at = time.time()
            worker.kill()
            lanes |= await _lanes(connection, name)
            # it reads every socket that holds something before it answers a new one
            await self._sink.counts()
            owed = await _owed(connection, lanes, self._sink.url)
        received = {(arrival.path, arrival.message_id) for arrival in await self._sink.arrivals()}
        self.in_flight.append(len(owed & received))
        # what the sink's socket still held at the kill has arrived by now
        self.incidents.append(Incident(f"kill of {name}", at, time.time()))
        await worker.start()

    async def _crash(self) -> None:
        began = time.time()
        await asyncio.to_thread(self._scene.platform.restart_postgres, "immediate")
        self.incidents.append(Incident("crash", began, time.time()))

    async def _without_realtime(self, seconds: float) -> None:
        realtime = self._scene.platform.realtime
        realtime.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(realtime.start)


async def _lanes(connection: Connection, worker: str) -> set[int]:
    rows = await (await connection.execute(LANES_OF, (worker,))).fetchall()
    return {row[0] for row in rows}


async def _owed(connection: Connection, lanes: set[int], base: str) -> set[Delivery]:
    """The deliveries of `lanes` that the database holds as owed, the first of each lane."""
    rows = await (await connection.execute(OWED, (list(lanes), UNSETTLED))).fetchall()
    return {(url.removeprefix(base), key) for url, key in rows}
