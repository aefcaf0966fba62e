"""The job that works off pushed changes: rounds, turns, and what becomes of it when something fails."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.engine.job import AttemptId, Done, Job, JobId, NewJob, Outcome, Snooze
from worker.errors import BadAnswer, Busy, PayloadError, Refused, Unreachable
from worker.gateway.changes import Batch, Forgotten, PendingChange
from worker.gateway.changes import Outcome as Applied
from worker.sync.handlers import BATCH, ROUTINES, TURN, ForgetChanges, NotifyConflicts, WorkChanges
from worker.sync.meter import SettleMeter

TENANT = "00000000-0000-0000-0000-000000000001"
ROW = {
    "name": "Shirt",
    "version": 1,
    "updated_at": "2026-11-27T12:00:00+00:00",
    "attributes": {},
    "deleted_at": None,
}
DELETED = ROW | {"deleted_at": "2026-11-27T12:00:00+00:00", "version": 2}


def change(entity: int, **more: Any) -> PendingChange:
    return PendingChange.model_validate(
        {
            "id": str(uuid.uuid4()),
            "principal_id": "anna",
            "entity": "product",
            "entity_id": f"{entity:012}",
            "operation": "update",
            "base_version": 1,
            "edit": {"name": {"set": "Boot"}},
            "stamp": "1764201600123-0000-till",
            "pushed_at": datetime.now(UTC),
            "row": ROW,
            "base": ROW,
            "touched": [],
            "own": [],
            "stamps": [],
            "unfit": False,
        }
        | more
    )


@dataclass
class Pushed:
    """The database in little: what waits, numbered in order; `stale` so many times before it is written."""

    clock: ManualClock
    waiting: list[PendingChange] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)
    applied: list[tuple[str, list[Mapping[str, Any]]]] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    takes: timedelta = timedelta(0)
    planned: list[Exception] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    lost: bool = False
    now: datetime | None = None

    async def read(self, tenant_id: str, *, after: int, limit: int) -> Batch:
        assert tenant_id == TENANT
        if self.planned:
            raise self.planned.pop(0)
        self.limits.append(limit)
        page = [(seq, it) for seq, it in enumerate(self.waiting, 1) if seq > after][:limit]
        entities = [it.entity_id for it in self.waiting]
        return Batch(
            changes=[it for _, it in page if self.waiting.index(it) == entities.index(it.entity_id)],
            policies={"product": {"*": "last_write"}},
            now=self.now or datetime.now(UTC),
            after=page[-1][0] if page else None,
            more=len(page) == limit,
        )

    async def apply(
        self, principal_id: str, attempt_id: AttemptId, writes: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Applied]:
        if self.lost:
            raise Refused("sync.attempt_lost", code="PT409")
        if any(each["entity_id"] in self.busy for each in writes):
            raise Busy("canceling statement due to statement timeout")
        await self.clock.advance(self.takes.total_seconds())
        self.applied.append((principal_id, list(writes)))
        outcomes: dict[str, Applied] = {}
        for each in writes:
            left = self.stale.get(each["entity_id"], 0)
            self.stale[each["entity_id"]] = left - 1
            outcomes[each["change_id"]] = "stale" if left > 0 else "written"
        gone = {which for which, outcome in outcomes.items() if outcome == "written"}
        self.waiting = [it for it in self.waiting if it.id not in gone]
        return outcomes


async def work(pushed: Pushed, tenant_id: str | None = TENANT) -> Outcome:
    job: Job[Any] = Job(JobId(1), AttemptId("a"), "sync.work", tenant_id, None, 1, 10, datetime.now(UTC))
    return await WorkChanges(pushed, pushed.clock)(job)


async def test_each_entity_s_changes_are_written_one_after_the_other(clock: ManualClock) -> None:
    waiting = [change(entity, edit={"name": {"set": f"{entity}-{n}"}}) for entity in (1, 2) for n in range(3)]
    pushed = Pushed(clock, waiting)
    assert await work(pushed) == Done()
    names = [[each["fields"]["name"] for each in writes] for _, writes in pushed.applied]
    assert names == [["1-0", "2-0"], ["1-1", "2-1"], ["1-2", "2-2"]]


async def test_everybody_writes_as_themselves(clock: ManualClock) -> None:
    """In the order of pushing: what one makes another may need."""
    people = ["anna", "anna", "ben", "anna"]
    pushed = Pushed(clock, [change(n, principal_id=who) for n, who in enumerate(people)])
    await work(pushed)
    assert [(who, len(writes)) for who, writes in pushed.applied] == [("anna", 2), ("ben", 1), ("anna", 1)]


async def test_what_was_changed_meanwhile_is_read_and_merged_again(clock: ManualClock) -> None:
    pushed = Pushed(clock, [change(1), change(2)], stale={"000000000001": 3})
    assert await work(pushed) == Done()
    assert [len(writes) for _, writes in pushed.applied] == [2, 1, 1, 1]


async def test_a_page_that_is_too_much_is_read_in_smaller_ones(clock: ManualClock) -> None:
    pushed = Pushed(clock, [change(n) for n in range(3)], planned=[Busy("time-out"), BadAnswer("too large")])
    assert await work(pushed) == Done()
    assert pushed.limits == [BATCH // 4] * 2
    with pytest.raises(Busy):
        await work(Pushed(clock, [change(1)], planned=[Busy("time-out")] * 20))


async def test_after_its_turn_other_tenants_get_theirs(clock: ManualClock) -> None:
    pushed = Pushed(clock, [change(1, id=str(uuid.uuid4())) for _ in range(5)], takes=TURN / 2)
    assert isinstance(await work(pushed), Snooze)
    assert len(pushed.applied) == 2
    assert await work(pushed) == Snooze(timedelta(0), "more changes are pending")
    assert await work(pushed) == Done()
    assert len(pushed.applied) == 5


async def test_what_cannot_be_merged_is_refused_with_its_reason(clock: ManualClock) -> None:
    bad = [
        change(1, edit={"name": {"delta": 1}}),
        change(2, row=None, base=None),
        change(3, operation="insert", base_version=None),
        change(4, edit={"name": {"frob": 1}}),
        change(5, unfit=True, row=None, base=None),
        change(6, stamp="no stamp"),
        change(7, row=DELETED, touched=[("deleted_at", 2, 1)], edit={"name": {"delta": 1}}),
    ]
    pushed = Pushed(clock, bad)
    assert await work(pushed) == Done()
    codes = [each["error"]["code"] for _, writes in pushed.applied for each in writes]
    assert codes == [
        "sync.edit_refused",
        "product.not_found",
        "sync.entity_exists",
        "sync.edit_invalid",
        "sync.row_unfit",
        "sync.edit_invalid",
        "sync.edit_refused",
    ]


async def test_a_new_row_has_what_its_edit_makes_of_nothing(clock: ManualClock) -> None:
    edit = {"sku": {"set": "BAG"}, "attributes.tags": {"add": ["new"]}}
    pushed = Pushed(clock, [change(1, operation="insert", base_version=None, edit=edit, row=None, base=None)])
    await work(pushed)
    [(_, [written])] = pushed.applied
    assert written["fields"] == {"sku": "BAG", "attributes.tags": ["new"]}


async def test_a_job_without_a_tenant_is_poison(clock: ManualClock) -> None:
    with pytest.raises(PayloadError):
        await work(Pushed(clock), None)


async def test_an_outage_costs_nothing(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    pushed = Pushed(clock, [change(1)], planned=[Unreachable("away")])
    async with running(make_runner(WorkChanges(pushed, clock), poll=1)):
        await queue.enqueue(NewJob("sync.work", {}, tenant_id=TENANT))
        await clock.advance(30)
    assert (len(pushed.applied), queue.rows) == (1, {})


async def test_what_is_busy_holds_up_nothing_but_itself(clock: ManualClock) -> None:
    pushed = Pushed(clock, [change(n) for n in range(8)] + [change(3)], busy={"000000000003"})
    outcome = await work(pushed)
    assert isinstance(outcome, Snooze)
    assert outcome.after > timedelta(0), "no spin"
    assert {each.entity_id for each in pushed.waiting} == {"000000000003"}
    pushed.busy.clear()
    assert await work(pushed) == Done()


async def test_what_is_written_or_refused_is_timed_from_its_push(clock: ManualClock) -> None:
    """By the database's clock: 7 s until it is read, and 2 s for each call, also for what is stale."""
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    early = now - timedelta(seconds=7)
    waiting = [change(1, pushed_at=early), change(2, pushed_at=early), change(3, pushed_at=early)]
    pushed = Pushed(
        clock, waiting, takes=timedelta(seconds=2), now=now, stale={"000000000002": 1}, busy={"000000000003"}
    )
    registry = CollectorRegistry()
    job: Job[Any] = Job(JobId(1), AttemptId("a"), "sync.work", TENANT, None, 1, 10, datetime.now(UTC))
    await WorkChanges(pushed, clock, SettleMeter(registry))(job)
    assert registry.get_sample_value("pms_sync_settle_seconds_count") == 2
    assert registry.get_sample_value("pms_sync_settle_seconds_sum") == (7 + 2 * 2) + (7 + 2)


async def test_a_lost_lease_is_no_reason_to_bury_the_job(clock: ManualClock) -> None:
    pushed = Pushed(clock, [change(1)], lost=True)
    assert isinstance(await work(pushed), Snooze)


@dataclass
class Open:
    asked: list[timedelta] = field(default_factory=list)
    old: int = 0

    async def forget(self, *, keep: timedelta) -> Forgotten:
        self.asked.append(keep)
        self.old -= 1
        return Forgotten(forgotten=1, more=self.old > 0)

    async def notify(self, *, older_than: timedelta) -> int:
        self.asked.append(older_than)
        return 1


async def test_open_conflicts_are_looked_for_by_a_routine(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    found = Open()
    async with running(make_runner(NotifyConflicts(found), poll=1)):
        for _ in range(2):
            await queue.enqueue(ROUTINES[1].job)
            await clock.advance(2)
    assert found.asked == [timedelta(hours=1)] * 2


async def test_old_changes_are_forgotten_slice_by_slice(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    found = Open(old=3)
    async with running(make_runner(ForgetChanges(found), poll=1)):
        await queue.enqueue(ROUTINES[0].job)
        await clock.advance(10)
    assert (found.asked, queue.rows) == ([timedelta(days=30)] * 3, {})
