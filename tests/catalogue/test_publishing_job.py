"""The job that publishes what is due: slice by slice, harmless twice, patient with an outage."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, clock, condition, make_runner, metrics, queue, running
from tests.engine.memory import MemoryQueue
from tests.gateway.conftest import rpc, settings
from worker.catalogue.handlers import MOST_SLICES, ROUTINES, SLICE, PublishDue
from worker.engine.job import NewJob
from worker.errors import Unreachable
from worker.gateway.client import SupabaseRpc
from worker.gateway.publishing import PublishedAnswer, RpcDuePublishing

__all__ = ["clock", "condition", "make_runner", "metrics", "queue", "rpc", "settings"]

KIND = PublishDue.kind


@dataclass
class Plans:
    """So many are due; fails as planned."""

    due: int
    limits: list[int] = field(default_factory=list)
    planned: list[Exception] = field(default_factory=list)

    async def publish_due(self, *, limit: int) -> PublishedAnswer:
        if self.planned:
            raise self.planned.pop(0)
        self.limits.append(limit)
        published = min(limit, self.due)
        self.due -= published
        return PublishedAnswer(published=published, failed=0, more=published == limit)


@pytest.mark.parametrize("slices", [2, MOST_SLICES + 3])
async def test_a_long_list_is_published_in_slices(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, slices: int
) -> None:
    plans = Plans(due=slices * SLICE + 1)
    async with running(make_runner(PublishDue(plans), poll=1)):
        await queue.enqueue(NewJob(KIND, {}))
        await clock.advance(10)
    assert (plans.due, plans.limits) == (0, [SLICE] * (slices + 1))
    assert queue.rows == {}


async def test_done_twice_an_outage_and_a_poisoned_payload(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    plans = Plans(due=3)
    async with running(make_runner(PublishDue(plans), poll=1)):
        for _ in range(2):
            await queue.enqueue(NewJob(KIND, {}))
            await clock.advance(2)
        assert (plans.due, plans.limits) == (0, [SLICE] * 2)
        plans.planned = [Unreachable("away")]
        await queue.enqueue(NewJob(KIND, {}))
        await clock.advance(20)
        assert len(plans.limits) == 3
        await queue.enqueue(NewJob(KIND, {"limit": 1}))
        await clock.advance(2)
    assert [row.state for row in queue.rows.values()] == ["buried"]


async def test_the_database_answers_in_the_promised_shape(rpc: SupabaseRpc) -> None:
    answer = await RpcDuePublishing(rpc).publish_due(limit=1)
    assert answer.published >= 0


def test_it_is_queued_again_and_again_besides() -> None:
    assert [(routine.job.kind, routine.job.unique_key) for routine in ROUTINES] == [(KIND, KIND)]
