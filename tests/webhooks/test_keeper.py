"""The keeper: when it asks for its lanes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from tests.engine.clock import ManualClock, settle
from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.engine.condition import Condition
from worker.gateway.lanes import Lease
from worker.webhooks.book import Book
from worker.webhooks.keeper import Keeper

LEASE = timedelta(seconds=30)


class OneMoreEachTime(MemoryLanes):
    """Tells of one more lane with each call."""

    told = 0

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        lease = await super().lease(token, duration=duration)
        self.told += 1
        return replace(lease, lanes=lease.lanes[: self.told], partial=self.told < len(lease.lanes))


async def test_lanes_that_were_told_in_part_are_asked_for_again_at_once() -> None:
    clock, book = ManualClock(), Book()
    database = Database(now=clock.monotonic)
    for _ in range(3):
        database.endpoint("https://example.com/hook")
    store = OneMoreEachTime(database)
    had: list[int] = []
    keeper = Keeper(
        store,
        book,
        clock=clock,
        condition=Condition("lease", clock, lost="part.failing", back="part.working"),
        duration=LEASE,
        changed=lambda: had.append(len(book.lanes)),
    )
    task = asyncio.create_task(keeper.run())
    await settle()
    await clock.advance(1)
    assert had == [1, 2, 3], "and each part is put to work as it comes"
    await clock.advance(5)
    assert had == [1, 2, 3], "then there is time"
    task.cancel()
    await asyncio.wait([task])
