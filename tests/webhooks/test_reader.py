"""The reader: when it looks, and when it looks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.engine.clock import ManualClock, settle
from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.engine.condition import Condition
from worker.webhooks.book import Book
from worker.webhooks.reader import TAIL_LIMIT, Reader
from worker.webhooks.stock import LANE_RETRIES, Stock

POLL = timedelta(seconds=10)
LEASE = timedelta(seconds=600)


class World:
    """A reader over lanes in memory, with nobody who sends; the time of every tail read is on record."""

    def __init__(self) -> None:
        self.clock, self.book = ManualClock(), Book(Stock())
        self.database = Database(now=self.clock.monotonic)
        self.store = MemoryLanes(self.database)
        self.outdated = 0
        self.reader = Reader(
            self.store,
            self.book,
            clock=self.clock,
            condition=Condition("read", self.clock, lost="part.failing", back="part.working"),
            poll=POLL,
            got=lambda _: None,
            outdated=self.heard_outdated,
            lost=lambda: None,
        )

    def heard_outdated(self) -> None:
        self.outdated += 1

    async def lease(self) -> None:
        self.book.adopt(await self.store.lease(self.book.token, duration=LEASE))
        self.reader.wake()
        await settle()

    @property
    def tail_reads(self) -> int:
        return self.store.calls.count("read_tail")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.lease()
        task = asyncio.create_task(self.reader.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def world() -> World:
    return World()


async def test_a_ring_that_comes_before_its_commit_is_visible_is_not_wasted(world: World) -> None:
    lane = world.database.endpoint("https://example.com/hook")
    async with world.running():
        await world.clock.advance(1)
        world.reader.rang()
        await world.clock.advance(0.02)
        world.database.dispatch(lane)  # the ring was faster than the commit
        await world.clock.advance(0.01)
        assert world.book.stock.queued == 1


async def test_room_is_no_reason_to_look_again(world: World) -> None:
    world.database.endpoint("https://example.com/hook")
    async with world.running():
        await world.clock.advance(1)
        before = world.tail_reads
        world.reader.wake()
        await world.clock.advance(1)
        assert world.tail_reads == before + 1


def fail_all(database: Database, lanes: int, each: int) -> None:
    """So many deliveries of so many lanes that have failed once and are due again."""
    for _ in range(lanes):
        database.dispatch(*[database.endpoint("https://example.com/hook")] * each)
    database.fail_pending()


async def test_more_retries_than_a_read_brings_are_all_read_at_once(world: World) -> None:
    fail_all(world.database, lanes=14, each=100)
    async with world.running():
        assert world.book.stock.queued == 1_400


async def test_retries_for_which_there_is_no_room_are_not_asked_for_in_a_spin(world: World) -> None:
    fail_all(world.database, lanes=1, each=LANE_RETRIES + TAIL_LIMIT)
    async with world.running():
        assert world.book.stock.queued == LANE_RETRIES
        before = world.tail_reads
        assert before <= 3
        await world.clock.advance(9)
        assert world.tail_reads == before


async def test_what_was_read_after_a_change_waits_until_the_lane_is_described_again(world: World) -> None:
    lane = world.database.endpoint("https://example.com/hook")
    world.database.dispatch(lane)
    world.database.fail_pending()
    async with world.running():
        assert world.book.stock.queued == 1, "its retry"
        world.database.change(lane)
        world.database.dispatch(lane, lane)
        world.reader.rang()
        await world.clock.advance(0.1)
        assert (world.book.stock.queued, world.outdated) == (1, 1)
        reads = len(world.store.calls)
        await world.clock.advance(9)
        assert len(world.store.calls) == reads, "not asked for in a spin"
        await world.lease()
        assert world.book.stock.queued == 3


async def test_a_retry_that_was_read_after_a_change_waits_too(world: World) -> None:
    lane = world.database.endpoint("https://example.com/hook")
    async with world.running():
        world.database.change(lane)
        world.database.dispatch(lane)
        world.database.fail_pending()
        world.reader.rang()
        await world.clock.advance(0.1)
        assert world.book.stock.queued == 0
        assert world.outdated
        await world.lease()
        assert world.book.stock.queued == 1
