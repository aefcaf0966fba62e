"""The jobs of inbound webhooks: harmless twice, patient with an outage, and poison is buried."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.engine.job import NewJob
from worker.errors import Busy, Unreachable
from worker.gateway.inbound import Applied, Status
from worker.inbound.handlers import ROUTINES, ApplyEvent, ForgetEvents

PAYLOAD = {"webhook_id": str(uuid.uuid4()), "principal_id": str(uuid.uuid4())}


@dataclass
class Door:
    """Answers as the database does: an event happens once; fails as planned."""

    planned: list[Exception] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    settled: dict[str, Status] = field(default_factory=dict)
    becomes: Status = "done"
    waits: int = 0

    async def apply(self, principal_id: str, webhook_id: str) -> Applied:
        self.calls.append((principal_id, webhook_id))
        if self.planned:
            raise self.planned.pop(0)
        if self.waits:
            self.waits -= 1
            return Applied(status="queued", in_seconds=7)
        return Applied(status=self.settled.setdefault(webhook_id, self.becomes))


async def test_an_event_happens_as_its_sender_and_a_refusal_ends_the_job(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    for status in ("done", "rejected"):
        door = Door(becomes=status)
        async with running(make_runner(ApplyEvent(door), poll=1)):
            for _ in range(2):
                await queue.enqueue(NewJob(ApplyEvent.kind, PAYLOAD))
            await clock.advance(5)
        assert door.calls == [(PAYLOAD["principal_id"], PAYLOAD["webhook_id"])] * 2
        assert queue.rows == {}


async def test_an_event_that_waits_is_looked_at_again_when_told_and_at_no_cost(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(waits=30)  # more often than a job is tried
    async with running(make_runner(ApplyEvent(door), poll=1)):
        await queue.enqueue(NewJob(ApplyEvent.kind, PAYLOAD))
        await clock.advance(6)
        assert len(door.calls) == 1
        await clock.advance(300)
    assert (len(door.calls), queue.rows) == (31, {})


async def test_faults_are_tried_again_and_poison_is_buried(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(planned=[Unreachable("away"), Busy("a lock")])
    async with running(make_runner(ApplyEvent(door), poll=1)):
        await queue.enqueue(NewJob(ApplyEvent.kind, PAYLOAD))
        await clock.advance(600)
        assert (len(door.calls), queue.rows) == (3, {})
        await queue.enqueue(NewJob(ApplyEvent.kind, {"webhook_id": "no uuid"}))
        await clock.advance(5)
    assert [row.state for row in queue.rows.values()] == ["buried"]
    assert len(door.calls) == 3


@dataclass
class Old:
    """So many slices are old."""

    slices: int
    kept: list[timedelta] = field(default_factory=list)

    async def forget(self, *, keep: timedelta) -> bool:
        self.kept.append(keep)
        self.slices -= 1
        return self.slices > 0


async def test_old_events_are_forgotten_slice_by_slice(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Old(slices=3)
    async with running(make_runner(ForgetEvents(door), poll=1)):
        await queue.enqueue(ROUTINES[0].job)
        await clock.advance(10)
    assert door.kept == [timedelta(days=30)] * 3
    assert queue.rows == {}
