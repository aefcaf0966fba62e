"""`pms-worker status`: what is waiting, and who works."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.cache.store import CacheAway, CacheStore
from worker.config import Settings
from worker.gateway.client import SupabaseRpc
from worker.gateway.status import CUT, Status, read_status
from worker.gateway.vitals import AdapterHealth, QueueHealth, RpcVitals, dead_line, endpoints_line
from worker.log import redact


@dataclass(frozen=True, slots=True)
class RedisSight:
    """The Redis of REDIS_URL: who says in it that it tells what changes, or why it could not be asked."""

    alive: str | None = None
    fault: str | None = None


async def show(settings: Settings, *, as_json: bool) -> None:
    """Prints the status to stdout. Raises `GatewayError`."""
    async with SupabaseRpc(settings) as rpc:
        status, health = await read_status(rpc), await RpcVitals(rpc).look()
    redis = await look_at_redis(settings)
    if as_json:
        more = {"health": health.model_dump(mode="json"), "redis": None if redis is None else asdict(redis)}
        print(json.dumps(status.model_dump(mode="json") | more), flush=True)
    else:
        Console().print(table(status, health, redis))


async def look_at_redis(settings: Settings) -> RedisSight | None:
    """None without REDIS_URL."""
    if settings.redis_url is None:
        return None
    async with CacheStore(settings.redis_url) as store:
        try:
            return RedisSight(alive=await store.alive())
        except CacheAway as error:
            return RedisSight(fault=str(redact(str(error))))


def table(status: Status, health: QueueHealth, redis: RedisSight | None = None) -> Table:
    """The status as people read it."""
    rows = Table(title=f"schema {status.schema_version}, secrets in the {status.secrets}", show_header=False)
    rows.add_column(style="bold")
    rows.add_column(justify="right")
    rows.add_column()
    rows.add_row("outbox", _count(status.outbox.depth), _age(status.outbox.oldest_seconds))
    rows.add_row("deliveries", _count(status.deliveries.pending), _age(status.deliveries.oldest_seconds))
    if status.deliveries.held:
        rows.add_row("held", _count(status.deliveries.held), "for paused or disabled endpoints")
    rows.add_row("retries", _count(status.retries.waiting), _due(status.retries.next_due_at, now=status.now))
    jobs = status.jobs
    rows.add_row("jobs", _count(jobs.ready), f"{jobs.running} running, {jobs.buried} buried")
    rows.add_row("lanes", str(status.lanes.total), f"{status.lanes.leased} leased")
    endpoints = sum(health.endpoints.values())
    rows.add_row("endpoints", f"{endpoints:,}", endpoints_line(health))
    if health.adapter is not None:
        _adapter(rows, health.adapter, redis)
    if health.fan_outs:
        rows.add_row("fan-outs", _count(health.fan_outs), "events still to be queued for many endpoints")
    if health.invalid_events:
        rows.add_row(
            "invalid", _count(health.invalid_events), "events kept from webhooks: private.invalid_events"
        )
    ahead = health.partitions_ahead_days
    oldest = f"days ahead, the oldest is of {health.oldest_partition_days} days ago"
    rows.add_row("partitions", str(ahead), oldest if ahead >= 0 else "today's is missing")
    rows.add_row("vacuum", "", dead_line(health))
    if health.xmin is not None:
        rows.add_row("", "", f"held back by {escape(str(health.xmin))}")
    for peer in status.workers:
        rows.add_row("worker", str(peer.lanes), f"lanes, {escape(peer.name)}")
    if not status.workers:
        rows.add_row("worker", "0", "nobody holds a lane")
    return rows


def _adapter(rows: Table, adapter: AdapterHealth, redis: RedisSight | None) -> None:
    """Nobody needs to read of a cache that nobody has."""
    waiting = adapter.invalidations
    if redis is not None or adapter.instances.redis or waiting.waiting:
        lag = f"tenants to tell of, {_age(waiting.oldest_seconds)}" if waiting.waiting else "nothing to tell"
        rows.add_row("cache", _count(waiting.waiting), lag)
        rows.add_row("", "", _redis(redis))
    inbound = adapter.inbound
    waits = _age(inbound.oldest_queued_seconds) if inbound.queued else ""
    rows.add_row("inbound", _count(inbound.queued), waits)
    rows.add_row("", "", f"of the last day: {inbound.unknown:,} unknown, {inbound.rejected:,} refused")


def _redis(redis: RedisSight | None) -> str:
    if redis is None:
        return "REDIS_URL is not set here"
    if redis.fault is not None:
        return escape(redis.fault)
    if redis.alive is None:
        return "Redis answers, but no worker says that it tells what changes: adapters read past it"
    return f"Redis answers, told by {escape(redis.alive)}"


def _count(depth: int) -> str:
    return f"{depth:,}" if depth < CUT else f"{CUT:,} or more"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"the oldest for {seconds:,.0f} s"


def _due(at: datetime | None, *, now: datetime) -> str:
    return "" if at is None else f"the next in {max(0.0, (at - now).total_seconds()):,.0f} s"
