"""The job that ends holds: slice by slice, harmless twice, patient with an outage."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.engine.job import NewJob
from worker.errors import Unreachable
from worker.gateway.client import SupabaseRpc
from worker.gateway.inventory import RpcReservations, Swept
from worker.inventory.handlers import ROUTINES, SweepReservations

KIND = SweepReservations.kind


@dataclass
class Holds:
    """So many are over; fails as planned."""

    over: int
    limits: list[int] = field(default_factory=list)
    planned: list[Exception] = field(default_factory=list)

    async def sweep(self, *, limit: int) -> Swept:
        if self.planned:
            raise self.planned.pop(0)
        self.limits.append(limit)
        expired = min(limit, self.over)
        self.over -= expired
        return Swept(expired=expired, more=expired == limit)


async def test_a_storm_is_swept_in_slices(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    holds = Holds(over=2500)
    async with running(make_runner(SweepReservations(holds), poll=1)):
        await queue.enqueue(NewJob(KIND, {}))
        await clock.advance(10)
    assert (holds.over, holds.limits) == (0, [1000] * 3)
    assert queue.rows == {}


async def test_done_twice_an_outage_and_a_poisoned_payload(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    holds = Holds(over=3)
    async with running(make_runner(SweepReservations(holds), poll=1)):
        for _ in range(2):
            await queue.enqueue(NewJob(KIND, {"limit": 10}))
            await clock.advance(2)
        assert (holds.over, holds.limits) == (0, [10, 10])
        holds.planned = [Unreachable("away")]
        await queue.enqueue(NewJob(KIND, {}))
        await clock.advance(20)
        assert holds.limits == [10, 10, 1000]
        await queue.enqueue(NewJob(KIND, {"limit": "all of them"}))
        await clock.advance(2)
    assert [row.state for row in queue.rows.values()] == ["buried"]


async def test_the_database_answers_in_the_promised_shape(rpc: SupabaseRpc) -> None:
    swept = await RpcReservations(rpc).sweep(limit=1)
    assert swept.expired >= 0


def test_the_sweep_is_queued_again_and_again() -> None:
    assert [(routine.job.kind, routine.job.unique_key) for routine in ROUTINES] == [(KIND, KIND)]
