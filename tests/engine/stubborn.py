"""A worker over a queue in memory whose only job never ends by itself; for the tests of signals.

Prints `working` when the job runs, `draining` at the first signal and the job's outcome at the end.
SIGUSR1 lets the job end.
"""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

from tests.engine.clock import ManualClock
from tests.engine.handlers import Gate
from tests.engine.memory import MemoryQueue
from tests.eventually import eventually
from worker.app import stop_on_signals
from worker.engine.claim import JobRunner
from worker.engine.clock import SystemClock
from worker.engine.condition import Condition
from worker.engine.daemon import Daemon
from worker.engine.job import NewJob
from worker.engine.metrics import Metrics
from worker.engine.run import Executor


async def main() -> None:
    clock, queue, gate = SystemClock(), MemoryQueue(ManualClock()), Gate()
    await queue.enqueue(NewJob(gate.kind, {}))
    runner = JobRunner(
        queue,
        Executor([gate]),
        clock=clock,
        metrics=Metrics(),
        condition=Condition("jobs", clock, lost="part.failing", back="part.working"),
        settling=Condition("jobs.settle", clock, lost="part.failing", back="part.working"),
        slots=1,
        poll=timedelta(seconds=1),
        lease=timedelta(minutes=5),
    )
    daemon = Daemon(runners=[runner], sides=[], clock=clock, drain_deadline=timedelta(minutes=1))

    def stop() -> None:
        daemon.stop()
        print("draining", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gate.opened.set)
    with stop_on_signals(stop):
        running = asyncio.create_task(daemon.run())
        await eventually(lambda: gate.inside)
        print("working", flush=True)
        await running
    print(*(type(result.outcome).__name__ for result in queue.settled), flush=True)


if __name__ == "__main__":
    import structlog

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(main())
