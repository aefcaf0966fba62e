"""`pms-worker drain`: work until everything is done, then stop."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

from worker.app import wired
from worker.config import Settings
from worker.engine.ending import stop_on_signals
from worker.engine.ports import Rpc
from worker.engine.retry import describe
from worker.errors import DrainStuck, GatewayError
from worker.gateway.status import Status, read_status
from worker.log import WORKER_DRAINED, get_logger

_POLL_SECONDS: Final = 0.1
LOOK_EVERY: Final = timedelta(milliseconds=200)
# longer than any time-out of a webhook, so that standing still means that nobody can do it; as long an outage
# is none that whoever waits for the drain should wait out
STUCK_AFTER: Final = timedelta(seconds=90)
OUTAGE_PAUSE: Final = timedelta(seconds=1)


async def drain_worker(settings: Settings, *, wait: timedelta) -> None:
    """Works until the outbox, the deliveries, the jobs and the retries due within `wait` are done.

    Raises `DrainStuck` when nothing moves any more, or when a signal came first, and `GatewayError` when a
    person has to act before anything can be asked.
    """
    # without Realtime, so looking often takes its place
    eager = settings.model_copy(update={"worker_poll_seconds": _POLL_SECONDS})
    async with wired(eager, sides=False) as worker:
        with stop_on_signals(worker.daemon.stop):
            running = asyncio.create_task(worker.daemon.run())
            watching = asyncio.create_task(until_done(worker.rpc, wait=wait))
            try:
                await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
                worker.daemon.stop()
                await running
            finally:
                watching.cancel()
        if not watching.done() or watching.cancelled():
            raise DrainStuck("stopped by a signal before everything was done")
        await watching


async def until_done(
    rpc: Rpc,
    *,
    wait: timedelta,
    look_every: timedelta = LOOK_EVERY,
    stuck_after: timedelta = STUCK_AFTER,
) -> None:
    """Returns when nothing is left that is due now or within `wait`; two looks must agree, because work
    moves from one place to the next. Raises `DrainStuck` when what is left stands still, or Supabase is
    away, for `stuck_after`, and the `GatewayError` of a fault that does not pass by itself.
    """
    status = await _read(rpc, stuck_after)
    until, before = status.now + wait, status.fingerprint
    moved_at, calm = status.now, 0
    while True:
        left = _left(status, until=until)
        calm = 0 if left else calm + 1
        if calm == 2:
            get_logger("worker").info(WORKER_DRAINED)
            return
        if status.fingerprint != before or status.waits_for_retry(until):
            before, moved_at = status.fingerprint, status.now
        elif status.now - moved_at > stuck_after:
            raise DrainStuck(f"nothing moved for {stuck_after.total_seconds():.0f} s; left: {left}")
        await asyncio.sleep(look_every.total_seconds())
        status = await _read(rpc, stuck_after)


def _left(status: Status, *, until: datetime) -> str:
    """What is still to be done, in words; empty when nothing is."""
    parts = {
        "changes in the outbox": status.outbox.depth,
        "pending deliveries": status.deliveries.pending,
        "jobs": status.jobs.ready + status.jobs.running,
        "retries due": int(status.next_retry_within(until)),
    }
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)


async def _read(rpc: Rpc, stuck_after: timedelta) -> Status:
    gives_up_at: float | None = None
    while True:
        try:
            return await read_status(rpc)
        except GatewayError as error:
            if not error.transient:
                raise
            now = time.monotonic()
            gives_up_at = gives_up_at or now + stuck_after.total_seconds()
            if now > gives_up_at:
                raise DrainStuck(
                    f"Supabase did not answer for {stuck_after.total_seconds():.0f} s: {describe(error)}"
                ) from error
            # the worker's own condition says it once; here it is only waited for
            get_logger("worker").debug("drain.waiting", error=describe(error))
            await asyncio.sleep(OUTAGE_PAUSE.total_seconds())
