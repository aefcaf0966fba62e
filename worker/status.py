"""`pms-worker status`: what is waiting, and who works."""

from __future__ import annotations

import json
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.config import Settings
from worker.gateway.client import SupabaseRpc
from worker.gateway.status import CUT, Status, read_status
from worker.gateway.vitals import QueueHealth, RpcVitals, dead_line, endpoints_line


async def show(settings: Settings, *, as_json: bool) -> None:
    """Prints the status to stdout. Raises `GatewayError`."""
    async with SupabaseRpc(settings) as rpc:
        status, health = await read_status(rpc), await RpcVitals(rpc).look()
    if as_json:
        print(
            json.dumps(status.model_dump(mode="json") | {"health": health.model_dump(mode="json")}),
            flush=True,
        )
    else:
        Console().print(table(status, health))


def table(status: Status, health: QueueHealth) -> Table:
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


def _count(depth: int) -> str:
    return f"{depth:,}" if depth < CUT else f"{CUT:,} or more"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"the oldest for {seconds:,.0f} s"


def _due(at: datetime | None, *, now: datetime) -> str:
    return "" if at is None else f"the next in {max(0.0, (at - now).total_seconds()):,.0f} s"
