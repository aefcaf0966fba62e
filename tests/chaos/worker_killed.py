"""kill -9 of the worker in mid-delivery, several times, each time started again."""

from __future__ import annotations

import time

import psycopg

from tests.chaos.report import Fact, Report
from tests.eventually import eventually
from tests.flow.ledger import Incident, delivered, judge
from tests.flow.receiver import Hook, slow
from tests.flow.scene import Scene
from tests.flow.writers import burst

PRODUCTS = 50
STILL_OWED = """
select count(*) from queue.deliveries d
join public.events e on e.tenant_id = d.tenant_id and e.seq = d.seq and e.dispatched_on = d.dispatched_on
where e.id = any (%s)
"""


async def worker_killed(scene: Scene, *, deliveries: int = 5000, kills: int = 4) -> Report:
    """A backlog of `deliveries` for one endpoint; a kill after each equal share of it."""
    started = time.monotonic()
    db_url = scene.platform.db_url
    shop = await scene.shop(products=PRODUCTS)
    shop.hook.behave = slow(0.003)  # as over a network: there is always something in flight
    commits = await burst(db_url, shop.products, rounds=deliveries // PRODUCTS)
    # the lanes of a killed worker are free when its lease has run out
    worker = scene.worker(WORKER_LEASE_SECONDS="3")
    incidents: list[Incident] = []
    in_flight: list[int] = []
    for kill in range(1, kills + 1):
        await worker.start()
        await _until_received(shop.hook, kill * len(commits) // (kills + 1))
        at = time.time()
        worker.kill()
        in_flight.append(await _received_but_owed(db_url, shop.hook))
        # what the receiver's socket still held at the kill has arrived by now
        incidents.append(Incident(f"kill {kill}", at, time.time()))
    await worker.start()
    await delivered(db_url, 60)
    judgement = await judge(db_url, shop, shop.hook, commits, incidents)
    code = await worker.stop()
    faults = [f"the worker's exit code was {code}"] if code != 0 else []
    if judgement.duplicates > sum(in_flight):
        faults.append(f"{judgement.duplicates} duplicates, but {in_flight} were in flight at the kills")
    facts: dict[str, Fact] = {"kills": kills, "in_flight_at_kills": " ".join(map(str, in_flight))}
    return Report("worker_killed", time.monotonic() - started, judgement, facts, faults)


async def _until_received(hook: Hook, count: int) -> None:
    await eventually(lambda: len(hook.accepted_ids) >= count, 60, what=f"{count} received", interval=0.005)


async def _calm(hook: Hook) -> None:
    """Until the receiver has read and answered what its socket held: two looks at it find the same."""
    before = -1

    def nothing_new() -> bool:
        nonlocal before
        last, before = before, len(hook.hits)
        return hook.busy == 0 and last == before

    await eventually(nothing_new, what="the receiver has answered", interval=0.1)


async def _received_but_owed(db_url: str, hook: Hook) -> int:
    """How many messages the receiver has accepted that the database still holds as owed."""
    await _calm(hook)
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        row = await (await connection.execute(STILL_OWED, (list(hook.accepted_ids),))).fetchone()
    assert row is not None
    return int(row[0])
