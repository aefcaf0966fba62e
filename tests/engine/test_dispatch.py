"""The dispatcher: marks, wakes, the awake mode, outages."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.engine.clock import ManualClock, settle
from tests.engine.conftest import running
from tests.engine.memory import MemoryOutbox
from worker.engine.condition import Condition
from worker.engine.dispatch import Dispatcher
from worker.engine.metrics import Metrics
from worker.engine.wake import Bell, PaceRules
from worker.errors import Busy, SchemaMissing


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def dispatcher(
    outbox: MemoryOutbox, clock: ManualClock, metrics: Metrics, condition: Condition, heard: list[str]
) -> Dispatcher:
    bell = Bell()
    bell.attach(heard.append)
    rules = PaceRules(poll=timedelta(seconds=10))
    return Dispatcher(outbox, bell, clock=clock, metrics=metrics, condition=condition, rules=rules)


def mood_of(dispatcher: Dispatcher) -> str:
    return dispatcher.mood


async def test_it_looks_at_once_then_at_a_ring_then_at_the_poll(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    async with running(dispatcher):
        await clock.advance(4)
        outbox.waiting = 1
        dispatcher.wake("outbox")
        await clock.advance(12)
    assert [at for at, _, _ in outbox.looks] == [0, 4, 14]


async def test_a_ring_that_comes_before_its_commit_is_visible_is_not_wasted(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    async with running(dispatcher):
        await clock.advance(1)
        dispatcher.wake("outbox")
        await clock.advance(0.01)
        outbox.waiting = 1
        await clock.advance(5)
    assert [(round(at, 3), events) for at, _, events in outbox.looks] == [
        (0, 0),
        (1, 0),
        (1.005, 0),
        (1.03, 1),
    ]


async def test_no_mark_is_trusted_after_a_fault_nor_for_long(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    """A crash gives transaction ids out again: a mark from before may lie beyond them."""

    async def look_and_find() -> str:
        outbox.waiting = 1
        dispatcher.wake("outbox")
        await clock.advance(1)
        return outbox.looks[-1][1]

    async with running(dispatcher):
        assert [await look_and_find() for _ in range(2)] == ["1", "2"]
        outbox.faults.planned.append(Busy("the server is starting up", code="57P03"))
        assert await look_and_find() == "0"
        assert await look_and_find() == "4"
        await clock.advance(5)
        assert await look_and_find() == "5"
        assert await look_and_find() == "0"


async def test_other_lanes_do_not_make_it_look(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    async with running(dispatcher):
        dispatcher.wake("deliveries")
        dispatcher.wake("jobs")
        await clock.advance(5)
    assert len(outbox.looks) == 1


async def test_it_goes_on_at_once_until_drained_and_hands_each_mark_back(
    dispatcher: Dispatcher, outbox: MemoryOutbox
) -> None:
    outbox.waiting = 4_500
    async with running(dispatcher):
        await settle()
        dispatcher.wake("outbox")
        await settle()
    assert [(mark, events) for _, mark, events in outbox.looks] == [
        ("0", 2_000),
        ("0", 2_000),
        ("0", 500),
        ("3", 0),
    ]


async def test_it_wakes_those_for_whom_there_is_work(
    dispatcher: Dispatcher, outbox: MemoryOutbox, heard: list[str], metrics: Metrics
) -> None:
    outbox.waiting, outbox.deliveries_each = 3, 2
    async with running(dispatcher):
        await settle()
        assert heard == ["deliveries"]
        outbox.waiting, outbox.deliveries_each, outbox.jobs_each = 1, 0, 1
        dispatcher.wake("outbox")
        await settle()
        assert heard == ["deliveries", "jobs"]
        # a lane must be held before what is in it can be read
        outbox.waiting, outbox.deliveries_each, outbox.jobs_each, outbox.endpoints_each = 1, 1, 0, 1
        dispatcher.wake("outbox")
        await settle()
    assert heard[2:] == ["endpoints", "deliveries"]
    assert b"pms_events_dispatched_total 5.0" in metrics.render()
    assert b"pms_deliveries_queued_total 7.0" in metrics.render()


async def test_fast_ringing_asks_for_silence_and_looks_by_itself(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    async with running(dispatcher):
        for _ in range(12):
            outbox.waiting = 1
            dispatcher.wake("outbox")
            await clock.advance(0.05)
        assert mood_of(dispatcher) == "awake"
        assert outbox.silences[0][1] == 2.0
        asked = len(outbox.looks)
        for _ in range(100):  # three seconds of events that nobody rings for
            outbox.waiting = 1
            await clock.advance(0.03)
        assert outbox.waiting == 0
        assert len(outbox.looks) - asked >= 100
        # the silence never runs out in between
        refreshes = [at for at, seconds in outbox.silences if seconds]
        assert len(refreshes) >= 4
        assert all(later - earlier <= 1.1 for earlier, later in pairwise(refreshes))
        await clock.advance(1.2)
        assert mood_of(dispatcher) == "lingering"
        assert outbox.silences[-1][1] == 0.0
        await clock.advance(2.1)
        assert mood_of(dispatcher) == "asleep"
        calm = len(outbox.looks)
        await clock.advance(9)
        assert len(outbox.looks) - calm <= 1


async def test_while_writers_are_silent_the_other_lanes_are_looked_at_too(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock, heard: list[str]
) -> None:
    async with running(dispatcher):
        for _ in range(12):
            dispatcher.wake("outbox")
            await clock.advance(0.02)
        heard.clear()
        await clock.advance(0.5)
    assert {"jobs", "endpoints", "deliveries"} <= set(heard)
    assert heard.count("jobs") <= 3


async def test_an_outage_neither_ends_it_nor_floods_and_it_recovers(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock, condition: Condition
) -> None:
    outbox.faults.down, outbox.waiting = True, 1
    async with running(dispatcher):
        await clock.advance(600)
        assert condition.reason is not None
        assert "could not be reached" in condition.reason
        outbox.faults.down = False
        await clock.advance(5)
        assert outbox.waiting == 0
        assert condition.holds


@pytest.mark.parametrize("error", [Busy("deadlock", code="40P01"), SchemaMissing("no function")])
async def test_any_failure_of_a_look_is_tried_again(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock, error: Busy
) -> None:
    outbox.faults.planned = [error]
    outbox.waiting = 1
    async with running(dispatcher):
        await clock.advance(0.2)
    assert outbox.waiting == 0


async def test_a_stop_ends_it_and_lets_writers_ring_again(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    run = asyncio.create_task(dispatcher.run())
    for _ in range(12):
        dispatcher.wake("outbox")
        await clock.advance(0.02)
    assert mood_of(dispatcher) == "awake"
    await dispatcher.drain(timedelta(seconds=5))
    await run
    assert outbox.silences[-1][1] == 0.0


async def test_a_stop_waits_for_a_look_that_hangs_but_not_for_long(
    dispatcher: Dispatcher, outbox: MemoryOutbox, clock: ManualClock
) -> None:
    outbox.faults.hanging = True
    async with running(dispatcher):
        drain = asyncio.create_task(dispatcher.drain(timedelta(seconds=20)))
        await clock.advance(4)
        assert not drain.done(), "it may answer yet"
        await clock.advance(1)
        assert drain.done()


class Loud(MemoryOutbox):
    """Its writers cannot be silenced; to end a silence takes for ever."""

    async def stay_awake(self, duration: timedelta) -> None:
        if not duration:
            await asyncio.Event().wait()
        raise SchemaMissing("stay_awake is not there")


async def test_silence_that_is_not_granted_stops_neither_the_looking_nor_the_stop(
    clock: ManualClock, metrics: Metrics, condition: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.dispatch.LET_RING_WITHIN", timedelta(milliseconds=10))
    loud = Loud(clock)
    dispatcher = Dispatcher(loud, Bell(), clock=clock, metrics=metrics, condition=condition)
    async with running(dispatcher):
        for _ in range(40):
            loud.waiting = 1
            dispatcher.wake("outbox")
            await clock.advance(0.05)
        assert mood_of(dispatcher) == "awake"
        assert loud.waiting == 0
        assert condition.holds
