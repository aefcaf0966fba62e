"""Deliveries of one worker over a backlog, beside graphile-worker and the bare client: one sink for all."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from tests.bench.clients import run_client
from tests.bench.connections import direct, dispatch_all
from tests.bench.cpu import used
from tests.bench.figures import Line, middle, per_second, spread
from tests.bench.outlets import Outlets, open_outlets
from tests.bench.peers.graphile import Message, graphile
from tests.bench.sink_process import SinkProcess
from tests.flow.ledger import delivered
from tests.flow.offering import by_path, offer, rate
from tests.flow.scene import Scene
from tests.flow.writers import burst

DELIVERIES = 40_000
PRODUCTS = 500
MANY = 100
AT_ONCE = 100
"""Requests under way in all, of the bare client and of ours."""
OFFERED, OFFERED_SECONDS = 1000.0, 10.0
AIM_OF_GRAPHILE, AIM_OF_BARE = 1.5, 0.6
BARE = ("ours", "pyreqwest")
"""HTTP clients that post and do nothing else: the sending path's, and the one that it replaced."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOGGED = "select count(*) from public.webhook_attempts where tenant_id = %s and outcome = 'delivered'"


@dataclass(frozen=True)
class Size:
    deliveries: int = DELIVERIES
    offered: float = OFFERED
    seconds: float = OFFERED_SECONDS
    rounds: int = 3


async def deliveries(scene: Scene, size: Size | None = None) -> Line:
    """Signed, sent, answered, settled and logged; with 1 and with 100 endpoints, each beside the peer's."""
    size = size or Size()
    rounds: list[dict[str, Line]] = []
    bare: dict[str, list[int]] = {client: [] for client in BARE}
    async with SinkProcess(scene.platform) as sink:
        for _ in range(size.rounds):  # in turn, because the machine's pace changes by the minute
            ours = {n: await _backlog(scene, sink, size, endpoints=n) for n in (1, MANY)}
            message = await _message(sink)
            peer = {
                n: await graphile(scene, sink, message, count=size.deliveries, endpoints=n) for n in (1, MANY)
            }
            for client, rates in bare.items():
                rates.append(await _bare(client, sink, message, size.deliveries))
            rounds.append(
                {
                    "one_endpoint": ours[1],
                    f"{MANY}_endpoints": ours[MANY],
                    "graphile_one_endpoint": peer[1],
                    f"graphile_{MANY}_endpoints": peer[MANY],
                }
            )
        latency = await _offered(scene, sink, size)
    medians = {name: _middle([each[name] for each in rounds]) for name in rounds[0]}
    ceilings = {client: statistics.median(rates) for client, rates in bare.items()}
    return {
        "deliveries": size.deliveries,
        "rounds": size.rounds,
        "body_bytes": len(message.body.encode()),
        **medians,
        "commit_to_received": latency,
        "bare_client_per_s": ceilings,
        "at_once": AT_ONCE,
        "ratios": {
            "to_graphile": _ratio(medians, "one_endpoint"),
            f"to_graphile_{MANY}_endpoints": _ratio(medians, f"{MANY}_endpoints"),
            "to_graphile_aim": AIM_OF_GRAPHILE,
            "to_bare": {
                client: round(medians["one_endpoint"]["per_s"] / rate, 2) for client, rate in ceilings.items()
            },
            "to_bare_aim": AIM_OF_BARE,
        },
    }


def _middle(figures: Sequence[Line]) -> Line:
    """The medians, or the reason why there are none."""
    missing = [each for each in figures if each.get("per_s") is None]
    return missing[0] if missing else middle(figures)


def _ratio(medians: Mapping[str, Line], name: str) -> float | None:
    peers = medians[f"graphile_{name}"]["per_s"]
    return None if peers is None else round(medians[name]["per_s"] / peers, 2)


async def _backlog(scene: Scene, sink: SinkProcess, size: Size, *, endpoints: int) -> dict[str, Any]:
    """A backlog that is there before the worker starts; the clock runs from the first request."""
    outlets = await open_outlets(
        scene, sink, products=PRODUCTS, endpoints=endpoints, at_once=max(10, AT_ONCE // endpoints)
    )
    await _queue(scene, outlets, size.deliveries // endpoints)
    await sink.forget()
    async with scene.worker() as worker:
        before = used(scene.platform, worker.pid)
        await sink.until(size.deliveries, 300)
        await delivered(scene.platform.db_url, 60)
        ended = time.time()
        took = used(scene.platform, worker.pid) - before
    counts = await sink.counts()
    assert counts.distinct == size.deliveries, f"{counts.distinct} of {size.deliveries} came"
    assert counts.first_at is not None
    async with direct(scene.platform.admin_db_url) as connection:
        await connection.execute("vacuum")  # nor is it to meet whoever is measured next
    await sink.verify_last(outlets.secrets[(await sink.arrivals())[-1].path])
    assert (rows := await _logged(scene, outlets.tenant)) == size.deliveries, f"{rows} log rows"
    return {
        "per_s": per_second(size.deliveries, ended - counts.first_at),
        "sent_per_s": per_second(size.deliveries, counts.seconds),
        "duplicates": counts.requests - counts.distinct,
        **took.per(size.deliveries),
    }


async def _queue(scene: Scene, outlets: Outlets, events: int) -> None:
    rounds, rest = divmod(events, len(outlets.products))
    await burst(scene.platform.db_url, outlets.products, rounds=rounds)
    await burst(scene.platform.db_url, outlets.products[:rest], rounds=1 if rest else 0)
    async with direct(scene.platform.admin_db_url) as connection:
        await dispatch_all(connection)
        # what filling left behind is not the deliveries' to clean up
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")


async def _offered(scene: Scene, sink: SinkProcess, size: Size) -> Mapping[str, Any]:
    outlets = await open_outlets(scene, sink, products=PRODUCTS, endpoints=1, at_once=AT_ONCE)
    db_url = scene.platform.db_url
    async with scene.worker() as worker:
        await worker.until_realtime("live", 30)
        await offer(db_url, outlets.products, per_second=size.offered / 2, seconds=2)  # caches, plans
        await delivered(db_url, 60)
        await sink.forget()
        before = used(scene.platform, worker.pid)
        commits = await offer(
            db_url, outlets.products, per_second=size.offered, seconds=size.seconds, writers=2
        )
        await delivered(db_url, 60)
        took = used(scene.platform, worker.pid) - before
    taken = [seconds for _, seconds in await by_path(db_url, outlets.tenant, commits, await sink.arrivals())]
    assert len(taken) == len(commits), f"{len(taken)} of {len(commits)} came"
    cpu = took.per(len(commits))
    committed = round(rate(commits))
    return {
        "offered_per_s": size.offered,
        "committed_per_s": committed,
        **spread(taken),
        "worker_cpu_ms": cpu["worker_cpu_ms"],
    }


async def _bare(client: str, sink: SinkProcess, message: Message, count: int) -> int:
    await sink.forget()
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_bare",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(message.secret).sign("msg_bare", now, message.body),
    }
    taken = await run_client(client, f"{sink.url}/bare", count, AT_ONCE, headers=headers, body=message.body)
    assert (await sink.counts()).requests == count
    return per_second(count, taken["seconds"])


async def _message(sink: SinkProcess) -> Message:
    """The body of ours that came last: the peer and the bare client send the same."""
    return Message(await sink.last_body(), SECRET)


async def _logged(scene: Scene, tenant: uuid.UUID) -> int:
    async with direct(scene.platform.db_url) as connection:
        row = await (await connection.execute(LOGGED, (tenant,))).fetchone()
    assert row is not None
    return int(row[0])
