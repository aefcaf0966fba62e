"""The auditor: what the marks passed over is found and read, and the reading does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.engine.clock import ManualClock, settle
from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.engine.condition import Condition
from worker.errors import Unreachable
from worker.webhooks.auditor import CALM, EVERY, Auditor
from worker.webhooks.book import Book
from worker.webhooks.reader import Reader

LEASE = timedelta(seconds=6000)
POLL = timedelta(seconds=1)


class SlowLanes(MemoryLanes):
    """`find_missed` takes as long as it is told to."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        super().__init__(database)
        self.clock, self.seconds = clock, 0.0

    async def find_missed(
        self, token: int, *, through: int, in_hand: Collection[int], behind: Collection[int]
    ) -> int | None:
        missed = await super().find_missed(token, through=through, in_hand=in_hand, behind=behind)
        await self.clock.sleep(timedelta(seconds=self.seconds))
        return missed


class World:
    """Reader and auditor over lanes in memory, with nobody who sends."""

    def __init__(self) -> None:
        self.clock, self.book = ManualClock(), Book()
        self.database = Database(now=self.clock.monotonic)
        self.store = SlowLanes(self.database, self.clock)
        self.reading, self.auditing = (
            Condition(name, self.clock, lost="part.failing", back="part.working")
            for name in ("read", "audit")
        )
        self.reader = Reader(
            self.store,
            self.book,
            clock=self.clock,
            condition=self.reading,
            poll=POLL,
            got=lambda _: None,
            outdated=lambda: None,
            lost=lambda: None,
        )
        self.auditor = Auditor(
            self.store, self.book, clock=self.clock, condition=self.auditing, found=self.reader.wake
        )
        self.lane = self.database.endpoint("https://example.com/hook")

    @property
    def audits(self) -> int:
        return self.store.calls.count("find_missed")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.book.adopt(await self.store.lease(None, duration=LEASE))
        tasks = [asyncio.create_task(part.run()) for part in (self.reader, self.auditor)]
        await settle()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def deliver_all(self) -> None:
        """As if all that is queued had been sent and settled."""
        held = self.book.lanes[self.lane]
        while held.queue.ready:
            delivery = self.book.take(held)
            self.book.sent(held, delivery, again=False)
            del self.database.pending[delivery.delivery_id]
            self.book.settled([(held, delivery.delivery_id)])

    def set_database_back(self, ids: int) -> None:
        """It gives the last ids out again."""
        self.database.last_id -= ids


@pytest.fixture
def world() -> World:
    return World()


async def test_ids_that_are_given_out_again_are_found_and_read(world: World) -> None:
    async with world.running():
        world.database.dispatch(*[world.lane] * 10)
        await world.clock.advance(1)
        await world.deliver_all()
        world.set_database_back(4)
        world.database.dispatch(*[world.lane] * 3)
        await world.clock.advance(5)
        assert world.book.stock.queued == 0, "their ids lie below the mark"
        await world.clock.advance(EVERY.total_seconds())
        assert world.book.stock.queued == 3
        world.database.dispatch(world.lane)
        await world.clock.advance(2)
        assert world.book.stock.queued == 4, "the mark stands where the database does"


async def test_a_look_that_takes_long_holds_up_no_reading_and_comes_more_rarely(world: World) -> None:
    world.store.seconds = 10
    async with world.running():
        world.database.dispatch(world.lane)
        await world.clock.advance(EVERY.total_seconds() + 1)
        assert world.audits == 1
        world.database.dispatch(*[world.lane] * 5)
        await world.clock.advance(2)
        assert world.book.stock.queued == 6, "read while the audit was under way"
        await world.clock.advance(CALM * 10 - 10)
        assert world.audits == 1
        await world.clock.advance(30)
        assert world.audits == 2


async def test_a_look_that_fails_is_told_and_made_again(world: World) -> None:
    world.store.fail_next("find_missed", Unreachable("gone"), times=1)
    async with world.running():
        await world.clock.advance(EVERY.total_seconds() + 1)
        assert world.auditing.reason is not None
        await world.clock.advance(EVERY.total_seconds() + 1)
        assert world.auditing.reason is None
        assert world.reading.reason is None


async def test_a_mark_that_was_set_back_survives_the_answer_under_way() -> None:
    world = World()
    world.book.adopt(await world.store.lease(None, duration=LEASE))
    world.database.dispatch(*[world.lane] * 5)
    token = world.book.token
    assert token is not None
    world.book.begin_read()
    page = await world.store.read_tail(token, after=0, limit=100, busy=[], closed=[], behind=[])
    world.book.set_back(3)
    world.book.take_tail(page)
    world.book.end_read()
    assert world.book.tail == 2
