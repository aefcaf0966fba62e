"""A worker over a queue in memory whose only job never ends by itself; for the tests of signals.

    python -m tests.engine.stubborn [swallows | blocks]

Prints `working` when the job runs, `draining` at the first signal, and how it ended. SIGUSR1 lets the job
end; one that `swallows` its cancellation, or `blocks` in a thread, ends neither by that nor by the stop.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.engine.clock import ManualClock
from tests.engine.handlers import Gate
from tests.engine.memory import MemoryQueue
from tests.eventually import eventually
from worker.engine.claim import JobRunner
from worker.engine.clock import SystemClock
from worker.engine.condition import Condition
from worker.engine.daemon import Daemon
from worker.engine.ending import ending_in_time, stop_on_signals
from worker.engine.job import Job, NewJob, Outcome
from worker.engine.metrics import Metrics
from worker.engine.run import Executor
from worker.errors import StopOverdue


@dataclass(frozen=True)
class Swallower(Gate):
    async def __call__(self, job: Job[Any]) -> Outcome:
        self.inside.append(job)
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


@dataclass(frozen=True)
class Blocker(Gate):
    async def __call__(self, job: Job[Any]) -> Outcome:
        self.inside.append(job)
        await asyncio.to_thread(threading.Event().wait)
        raise AssertionError("nobody sets it")


MANNERS: dict[str, tuple[type[Gate], timedelta]] = {
    "waits": (Gate, timedelta(minutes=1)),
    "swallows": (Swallower, timedelta(milliseconds=100)),
    "blocks": (Blocker, timedelta(milliseconds=100)),
}


async def main(manner: str) -> None:
    kind, deadline = MANNERS[manner]
    clock, queue, gate = SystemClock(), MemoryQueue(ManualClock()), kind()
    await queue.enqueue(NewJob(gate.kind, {}))
    runner = JobRunner(
        queue,
        Executor([gate]),
        clock=clock,
        metrics=Metrics(),
        condition=Condition("jobs", clock, lost="part.failing", back="part.working"),
        settling=Condition("jobs.settle", clock, lost="part.failing", back="part.working"),
        extending=Condition("jobs.extend", clock, lost="part.failing", back="part.working"),
        slots=1,
        poll=timedelta(seconds=1),
        lease=timedelta(minutes=5),
    )
    daemon = Daemon(runners=[runner], sides=[], clock=clock, drain_deadline=deadline)

    def stop() -> None:
        daemon.stop()
        print("draining", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gate.opened.set)
    with stop_on_signals(stop):
        running = asyncio.create_task(daemon.run())
        await eventually(lambda: gate.inside)
        print("working", flush=True)
        try:
            await running
        except StopOverdue as overdue:
            print(overdue, flush=True)
            raise
    outcomes = [type(result.outcome).__name__ for result in queue.settled]
    print("stopped" if outcomes == ["Release"] else " ".join(outcomes), flush=True)


if __name__ == "__main__":
    import structlog

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    # as `pms-worker run` does it
    asyncio.run(ending_in_time(main((sys.argv[1:] or ["waits"])[0]), within=timedelta(milliseconds=200)))
