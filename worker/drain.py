"""`pms-worker drain`: work until everything is done, then stop."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from worker.app import Worker, stop_on_signals, wired
from worker.config import Settings
from worker.engine.ports import Rpc
from worker.engine.retry import describe
from worker.errors import DrainStuck, GatewayError
from worker.gateway.status import Status, read_status
from worker.log import WORKER_DRAINED, get_logger

_POLL_SECONDS: Final = 0.1
_LOOK_EVERY: Final = timedelta(milliseconds=200)
# longer than any time-out of a webhook, so that standing still means that nobody can do it
_STUCK_AFTER: Final = timedelta(seconds=90)


async def drain_worker(settings: Settings, *, wait: timedelta) -> None:
    """Works until the outbox, the deliveries, the jobs and the retries due within `wait` are done.

    Raises `DrainStuck` when nothing moves any more, or when a signal came first.
    """
    # without Realtime, so looking often takes its place
    eager = settings.model_copy(update={"worker_poll_seconds": _POLL_SECONDS})
    async with wired(eager, sides=False) as worker:
        with stop_on_signals(worker.daemon.stop):
            running = asyncio.create_task(worker.daemon.run())
            watching = asyncio.create_task(_until_done(worker, wait=wait))
            try:
                await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
                worker.daemon.stop()
                await running
            finally:
                watching.cancel()
        if not watching.done() or watching.cancelled():
            raise DrainStuck("stopped by a signal before everything was done")
        await watching


async def _until_done(worker: Worker, *, wait: timedelta) -> None:
    first: Status | None = None
    before: tuple[object, ...] = ()
    loop = asyncio.get_running_loop()
    moved_at, calm = loop.time(), 0
    while calm < 2:
        status = await _read(worker.rpc)
        first = first or status
        left = _left(status, until=first.now + wait)
        calm = calm + 1 if not left else 0
        if status.fingerprint != before or status.next_retry_within(first.now + wait):
            before, moved_at = status.fingerprint, loop.time()
        elif loop.time() - moved_at > _STUCK_AFTER.total_seconds():
            raise DrainStuck(f"nothing moved for {_STUCK_AFTER.total_seconds():.0f} s; left: {left}")
        await asyncio.sleep(_LOOK_EVERY.total_seconds())
    get_logger("worker").info(WORKER_DRAINED)


def _left(status: Status, *, until: datetime) -> str:
    """What is still to be done, in words; empty when nothing is."""
    parts = {
        "changes in the outbox": status.outbox.depth,
        "pending deliveries": status.deliveries.pending,
        "jobs": status.jobs.ready + status.jobs.running,
        "retries due": int(status.next_retry_within(until)),
    }
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)


async def _read(rpc: Rpc) -> Status:
    while True:
        try:
            return await read_status(rpc)
        except GatewayError as error:
            # the worker's own condition says it once; here it is only waited for
            get_logger("worker").debug("drain.waiting", error=describe(error))
            await asyncio.sleep(1)
