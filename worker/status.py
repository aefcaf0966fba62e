"""`pms-worker status`: what is waiting, and who works."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.config import Settings
from worker.gateway.client import SupabaseRpc
from worker.gateway.status import CUT, Status, read_status


async def show(settings: Settings, *, as_json: bool) -> None:
    """Prints the status to stdout. Raises `GatewayError`."""
    async with SupabaseRpc(settings) as rpc:
        status = await read_status(rpc)
    if as_json:
        print(status.model_dump_json(), flush=True)
    else:
        Console().print(table(status))


def table(status: Status) -> Table:
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
    rows.add_row("partitions", str(status.partitions_ahead_days), "days ahead")
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
