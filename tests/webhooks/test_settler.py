"""The settler: when results are written at once, and when they wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.engine.clock import ManualClock, settle
from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.engine.condition import Condition
from worker.gateway.lanes import Delivery, Result
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane
from worker.webhooks.meter import Meter
from worker.webhooks.settler import BATCH, PATIENCE, Finished, Settler
from worker.webhooks.stock import Stock

LEASE = timedelta(seconds=600)


class World:
    """A settler over a lane in memory; results are handed in, and calls are on record."""

    def __init__(self) -> None:
        self.clock, self.book = ManualClock(), Book(Stock())
        self.database = Database(now=self.clock.monotonic)
        self.database.endpoint("https://example.com/hook")
        self.store = MemoryLanes(self.database)
        self.settler = Settler(
            self.store,
            self.book,
            clock=self.clock,
            condition=Condition("settle", self.clock, lost="part.failing", back="part.working"),
            meter=Meter(None),
            room=lambda: None,
            lost=lambda: None,
        )

    async def start(self, *, queued: int) -> None:
        self.book.adopt(await self.store.lease(None, duration=LEASE))
        for number in range(queued):
            self.book.stock.add(self.lane, Delivery(10_000 + number, 1, "evt", b"{}", datetime.now(UTC)))

    @property
    def lane(self) -> HeldLane:
        return self.book.lanes[1]

    @property
    def calls(self) -> int:
        return self.store.calls.count("settle")

    def answered(self, count: int) -> None:
        for delivery_id in self.database.dispatch(*[1] * count):
            result = Result(
                delivery_id=delivery_id,
                lane_id=1,
                attempt=1,
                event_id="evt",
                type="test.event",
                outcome="delivered",
                started_at=datetime.now(UTC),
                duration_ms=1.0,
            )
            self.settler.add(Finished(self.lane, result, self.clock.monotonic()))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.settler.run())
    yield world
    task.cancel()
    await asyncio.wait([task])


async def test_a_lone_result_is_written_at_once(world: World) -> None:
    await world.start(queued=10)
    world.answered(1)
    await settle()
    assert world.calls == 1


async def test_in_a_backlog_results_wait_for_each_other(world: World) -> None:
    await world.start(queued=BATCH)
    for _ in range(5):
        world.answered(10)
        await settle()
    assert world.calls == 0
    await world.clock.advance(PATIENCE.total_seconds())
    assert world.calls == 1
    assert len(world.database.settled("delivered")) == 50


async def test_enough_results_wait_for_nothing(world: World) -> None:
    await world.start(queued=BATCH)
    world.answered(BATCH // 2)
    await settle()
    assert world.calls == 1
