from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from tests.eventually import eventually
from tests.webhooks.memory_lanes import SECRET, Database, MemoryLanes
from tests.webhooks.receiver import Receiver, receiving
from worker.engine.clock import SystemClock
from worker.errors import Refused, Unreachable
from worker.gateway.lanes import Page, Result, Secret
from worker.resolver import SystemResolver
from worker.wall import Wall
from worker.webhooks.attempt import Attempter
from worker.webhooks.book import Book
from worker.webhooks.runner import WebhookRunner
from worker.webhooks.sender import Sender
from worker.webhooks.settler import BATCH, MOST_WAITING
from worker.webhooks.stock import Stock

ROTATED = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

_senders: list[Sender] = []
"""Made and to be closed by `running`."""


def make_runner(
    store: MemoryLanes, *, slots: int = 50, lease: float = 30.0, book: Book | None = None
) -> WebhookRunner:
    clock = SystemClock()
    wall = Wall(SystemResolver(), allow=[ip_network("127.0.0.0/8")])
    sender = Sender(wall, clock=clock)
    _senders.append(sender)
    return WebhookRunner(
        store,
        Attempter(sender, clock=clock),
        clock=clock,
        poll=timedelta(milliseconds=200),
        lease=timedelta(seconds=lease),
        slots=slots,
        book=book,
    )


@asynccontextmanager
async def running(runner: WebhookRunner, *, drain: float = 2.0) -> AsyncIterator[WebhookRunner]:
    task = asyncio.create_task(runner.run())
    try:
        yield runner
        await runner.drain(timedelta(seconds=drain))
        await asyncio.wait_for(task, 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while _senders:
            await _senders.pop().close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
def database() -> Database:
    return Database(now=time.monotonic)


async def test_a_delivery_arrives_signed_and_is_settled(receiver: Receiver, database: Database) -> None:
    lane = database.endpoint(receiver.url("/a"))
    async with running(make_runner(MemoryLanes(database))) as runner:
        await eventually(lambda: runner.stats()["lanes"] == 1)
        database.dispatch(lane)
        runner.wake("deliveries")
        await eventually(lambda: database.settled("delivered") == [1])
    [message] = receiver.received
    assert Webhook(SECRET).verify(message.body, message.headers) == {"test": 1}
    assert message.headers["user-agent"] == "pms-webhooks/1"
    assert message.headers["content-type"] == "application/json"
    assert database.attempts[0].status == 204
    assert not database.held, "the lanes are free once the worker has stopped"


@pytest.mark.parametrize("failed_before", [False, True])
async def test_what_is_committed_after_a_rotation_is_signed_with_the_new_secret_as_well(
    receiver: Receiver, database: Database, failed_before: bool
) -> None:
    lane = database.endpoint(receiver.url("/a"))
    async with running(make_runner(MemoryLanes(database))) as runner:
        await eventually(lambda: runner.stats()["lanes"] == 1)
        database.change(lane, secrets=(Secret(ROTATED), Secret(SECRET)))
        database.dispatch(lane)
        if failed_before:
            database.fail_pending()
        runner.wake("deliveries")  # and no bell for the endpoint, which may be late or lost
        await eventually(lambda: database.settled("delivered") == [1])
    [message] = receiver.received
    for secret in (SECRET, ROTATED):
        assert Webhook(secret).verify(message.body, message.headers) == {"test": 1}


async def test_a_hanging_endpoint_does_not_slow_another(receiver: Receiver, database: Database) -> None:
    hanging = [database.endpoint(receiver.url(f"/hang/{n}")) for n in range(3)]
    good = database.endpoint(receiver.url("/good"))
    for n in range(3):
        receiver.hang(f"/hang/{n}")
    for _ in range(50):
        database.dispatch(*hanging)
    async with running(make_runner(MemoryLanes(database), slots=8), drain=0.1) as runner:
        await eventually(lambda: runner.stats()["in_flight"] >= 6)
        for _ in range(30):
            database.dispatch(good)
        runner.wake("deliveries")
        await eventually(lambda: len(receiver.ids("/good")) == 30, 5)
        assert not any(result.lane_id in hanging for result in database.attempts)
        assert runner.stats()["in_flight"] <= 8


async def test_slots_that_all_hang_come_back_by_themselves(receiver: Receiver, database: Database) -> None:
    """Nobody answers and nothing rings: only the time can tell that a slot is free again."""
    hanging, good = database.endpoint(receiver.url("/hang")), database.endpoint(receiver.url("/good"))
    receiver.hang("/hang")
    database.dispatch(*[hanging] * 4)
    async with running(make_runner(MemoryLanes(database), slots=4), drain=0.1) as runner:
        await eventually(lambda: runner.stats()["in_flight"] == 4)
        database.dispatch(good)
        await eventually(lambda: runner.stats()["queued"] == 1)
        await eventually(lambda: receiver.ids("/good"), 5)
        assert runner.stats()["in_flight"] >= 4


async def test_equal_turns_while_slots_are_scarce(receiver: Receiver, database: Database) -> None:
    greedy, modest = database.endpoint(receiver.url("/greedy")), database.endpoint(receiver.url("/modest"))
    database.dispatch(*[greedy] * 200)
    database.dispatch(*[modest] * 20)
    async with running(make_runner(MemoryLanes(database), slots=4)):
        await eventually(lambda: len(receiver.ids("/modest")) == 20)
        position = max(i for i, r in enumerate(receiver.received) if r.path == "/modest")
        assert position < 80, "it did not have to wait for the 200"
        await eventually(lambda: database.empty)


async def test_a_failed_delivery_comes_again_and_a_gone_endpoint_is_left_alone(
    receiver: Receiver, database: Database
) -> None:
    gone, flaky = database.endpoint(receiver.url("/gone")), database.endpoint(receiver.url("/flaky"))
    receiver.answer("/gone", 410)
    receiver.answer("/flaky", 500, 204)
    async with running(make_runner(MemoryLanes(database))) as runner:
        began = time.monotonic()
        database.dispatch(flaky, gone)
        await eventually(lambda: len(database.attempts) == 2)
        assert database.settled("gone") == [2]
        assert database.settled("retry") == [1]
        [retry] = database.retries.values()
        assert began + 4 <= retry.due <= time.monotonic() + 6
        retry.due = time.monotonic()
        database.dispatch(gone, gone)
        runner.wake("deliveries")
        await eventually(lambda: database.settled("delivered") == [1])
    assert [r.attempt for r in database.attempts if r.lane_id == flaky] == [1, 2]
    assert receiver.ids("/flaky") == ["evt_1", "evt_1"]
    assert len(receiver.ids("/gone")) == 1


async def test_a_failing_lane_is_parked_probed_and_slowly_opened(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/down"), max_concurrency=1)
    receiver.answer("/down", 500)
    database.dispatch(*[lane] * 40)
    runner = make_runner(MemoryLanes(database))
    async with running(runner):
        await eventually(lambda: runner.stats()["lanes_parked"] == 1)
        await eventually(lambda: len(database.attempts) == 5, what="all five are written back")
        assert len(receiver.received) == 5, "the other 35 burn no attempt"
        held = runner._book.lanes[lane]
        assert 29 < held.breaker.not_before - time.monotonic() < 37
        # the time of the first probe, and it fails
        held.breaker.not_before = time.monotonic()
        runner._senders.offer([held])
        await eventually(lambda: database.settled("probe") != [])
        assert (len(database.attempts), len(database.pending)) == (6, 35), (
            "it is noted, and burns none either"
        )
        # the next one finds it well again
        receiver.answer("/down", 204)
        held.breaker.not_before = time.monotonic()
        runner._senders.offer([held])
        await eventually(lambda: len(database.settled("delivered")) == 35)
        assert runner.stats()["lanes_parked"] == 0


async def test_retry_after_holds_the_lane(receiver: Receiver, database: Database) -> None:
    lane = database.endpoint(receiver.url("/busy"), max_concurrency=1)
    receiver.answer("/busy", 429, headers={"retry-after": "30"})
    database.dispatch(lane, lane, lane)
    runner = make_runner(MemoryLanes(database))
    async with running(runner):
        await eventually(lambda: database.settled("retry") == [1])
        held = runner._book.lanes[lane]
        assert 28 < held.breaker.not_before - time.monotonic() <= 30
    assert len(receiver.received) == 1
    [retry] = database.retries.values()
    assert retry.due - time.monotonic() > 28


async def test_draining_lets_finish_what_is_under_way_and_hands_back_the_rest_uncharged(
    receiver: Receiver, database: Database
) -> None:
    slow = database.endpoint(receiver.url("/slow"), max_concurrency=2)
    stuck = database.endpoint(receiver.url("/stuck"), max_concurrency=1)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def respond(_: web.BaseRequest) -> web.Response:
        begun.set()
        await finish.wait()
        return web.Response(status=204)

    receiver.behaviour["/slow"] = respond
    receiver.hang("/stuck")
    database.dispatch(slow, slow, slow, stuck)
    async with running(make_runner(MemoryLanes(database)), drain=1) as runner:
        await begun.wait()
        await eventually(lambda: len(receiver.received) == 3)
        draining = asyncio.create_task(runner.drain(timedelta(milliseconds=500)))
        finish.set()
        await draining
    assert sorted(database.settled("delivered")) == [1, 2]
    assert sorted(database.pending) == [3, 4], "neither the queued nor the cut one was charged"
    assert not database.held
    # and another worker delivers them
    receiver.let_go.set()
    async with running(make_runner(MemoryLanes(database, worker="two"))):
        await eventually(lambda: database.empty)
    assert receiver.ids("/stuck") == ["evt_4", "evt_4"]


async def test_a_drain_before_anything_has_begun_ends_the_run_too(database: Database) -> None:
    runner = make_runner(MemoryLanes(database))
    await runner.drain(timedelta(seconds=1))
    await asyncio.wait_for(runner.run(), 5)


async def test_a_stale_token_settles_nothing_and_without_it_there_would_be_two(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/slow"))
    receiver.hang("/slow")
    database.dispatch(lane)
    old_store = MemoryLanes(database, worker="old")
    async with running(make_runner(old_store), drain=1) as old:
        await eventually(lambda: receiver.received)
        # it stalls: its lease runs out, and another worker takes the lane while the old attempt is under way
        token = old._book.token
        assert token is not None
        database.expire(token)
        new_store = MemoryLanes(database, worker="new")
        new_token = (await new_store.lease(None, duration=timedelta(seconds=30))).token
        page = await new_store.read_tail(new_token, after=0, limit=10, busy=(), closed=(), behind=())
        assert [d.delivery_id for d in page.deliveries] == [1]
        receiver.let_go.set()
        await eventually(lambda: "settle" in old_store.calls)
        assert database.attempts == []
        assert list(database.pending) == [1], "what the old token says changes nothing"


async def test_the_database_away_loses_nothing_and_sends_nothing_twice(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/a"))
    store = MemoryLanes(database)
    async with running(make_runner(store)) as runner:
        await eventually(lambda: runner.stats()["lanes"] == 1)
        database.dispatch(*[lane] * 5)
        store.fail_next("settle", Unreachable("gone"), times=2)
        runner.wake("deliveries")
        await eventually(lambda: database.empty)
    assert sorted(receiver.ids()) == [f"evt_{n}" for n in range(1, 6)]
    assert len(database.attempts) == 5


async def test_what_cannot_be_written_back_is_not_sent_without_end(
    receiver: Receiver, database: Database
) -> None:
    """All of it would be sent again if the lease ran out before the database is back."""
    slots, store = 20, MemoryLanes(database)
    lanes = [database.endpoint(receiver.url(f"/{n}")) for n in range(3)]
    for _ in range(1500):
        database.dispatch(*lanes)
    store.fail_next("settle", Unreachable("away"), times=1_000_000)
    async with running(make_runner(store, slots=slots)) as runner:
        await eventually(lambda: runner.stats()["unsettled"] >= MOST_WAITING, 30)
        await eventually(lambda: runner.stats()["in_flight"] == 0, 30)
        assert len(receiver.received) <= MOST_WAITING + BATCH + slots
        store.fail_next("settle", Unreachable("away"), times=0)
        await eventually(lambda: database.empty, 30)
    assert len(receiver.ids()) == 4500


async def test_nothing_is_sent_under_a_lease_that_may_have_run_out(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/a"))
    store = MemoryLanes(database)
    runner = make_runner(store, lease=1.0)
    async with running(runner):
        await eventually(lambda: runner.stats()["lanes"] == 1)
        store.fail_next("lease", Unreachable("gone"), times=10**6)
        await eventually(lambda: not runner._keeper.valid(time.monotonic()))
        database.dispatch(lane)
        # the database still thinks it valid and hands the delivery out
        token = runner._book.token
        assert token is not None
        database.leases[token] = ("one", float("inf"))
        runner.wake("deliveries")
        await eventually(lambda: runner.stats()["queued"] == 1)
        assert receiver.received == []
        store.fail_next("lease", Unreachable("gone"), times=0)
        await eventually(lambda: database.empty)
    assert len(receiver.received) == 1


async def test_pause_stops_at_once_and_resume_loses_nothing(receiver: Receiver, database: Database) -> None:
    lane = database.endpoint(receiver.url("/a"), max_concurrency=1)
    receiver.hang("/a")
    database.dispatch(*[lane] * 5)
    async with running(make_runner(MemoryLanes(database))) as runner:
        await eventually(lambda: len(receiver.received) == 1)
        database.change(lane, paused=True)
        runner.wake("endpoints")
        await eventually(lambda: runner.stats()["queued"] == 0)
        receiver.let_go.set()
        database.dispatch(*[lane] * 5)
        runner.wake("deliveries")
        await eventually(lambda: database.settled("delivered") == [1])
        assert len(receiver.received) == 1
        database.change(lane, paused=False)
        runner.wake("endpoints")
        await eventually(lambda: database.empty)
    assert receiver.ids() == [f"evt_{n}" for n in range(1, 11)]


async def test_more_than_memory_holds_is_sent_once_each(receiver: Receiver, database: Database) -> None:
    lanes = [database.endpoint(receiver.url(f"/{n}")) for n in range(5)]
    for _ in range(200):
        database.dispatch(*lanes)
    runner = make_runner(MemoryLanes(database), book=Book(Stock(lane_queue=20, total_queue=60)))
    async with running(runner):
        await eventually(lambda: database.empty, 20)
    assert len(receiver.ids()) == len(set(receiver.ids())) == 1000


async def test_what_a_lane_behind_is_owed_is_not_read_with_the_tail(
    receiver: Receiver, database: Database
) -> None:
    class Watched(MemoryLanes):
        tail_lanes: ClassVar[set[int]] = set()

        async def read_tail(self, token: int, **asked: Any) -> Page:
            page = await super().read_tail(token, **asked)
            self.tail_lanes.update(delivery.lane_id for delivery in page.deliveries)
            return page

    behind, live = database.endpoint(receiver.url("/hang")), database.endpoint(receiver.url("/live"))
    receiver.hang("/hang")
    store = Watched(database)
    async with running(make_runner(store, book=Book(Stock(lane_queue=4))), drain=0.1) as runner:
        await eventually(lambda: runner.stats()["lanes"] == 2 and runner.stats()["lanes_behind"] == 0)
        database.dispatch(*[behind] * 30, live)
        runner.wake("deliveries")
        await eventually(lambda: runner.stats()["lanes_behind"] == 1 and len(receiver.ids("/live")) == 1)
        store.tail_lanes.clear()
        database.dispatch(behind, live)
        runner.wake("deliveries")
        await eventually(lambda: len(receiver.ids("/live")) == 2)
        assert store.tail_lanes == {live}


async def test_two_workers_share_the_lanes_without_a_duplicate(
    receiver: Receiver, database: Database
) -> None:
    lanes = [database.endpoint(receiver.url(f"/{n}")) for n in range(6)]
    one, two = (make_runner(MemoryLanes(database, worker=name)) for name in ("one", "two"))
    async with running(one):
        await eventually(lambda: one.stats()["lanes"] == 6)
        async with running(two):
            one.wake("endpoints")

            def shared() -> bool:
                two.wake("endpoints")
                return one.stats()["lanes"] == two.stats()["lanes"] == 3

            await eventually(shared)
            for _ in range(20):
                database.dispatch(*lanes)
            one.wake("deliveries")
            two.wake("deliveries")
            await eventually(lambda: database.empty)
    assert len(receiver.ids()) == len(set(receiver.ids())) == 120


async def test_a_bad_secret_is_our_fault_and_nothing_leaves_unsigned(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/a"), secrets=())
    database.dispatch(lane)
    runner = make_runner(MemoryLanes(database))
    async with running(runner):
        await eventually(lambda: runner.meter.counts["our_fault"] == 1)
    assert receiver.received == []
    assert database.attempts == []
    assert list(database.pending) == [1]


async def test_a_result_that_the_database_refuses_does_not_hold_up_the_others(
    receiver: Receiver, database: Database
) -> None:
    lane = database.endpoint(receiver.url("/a"))

    class Picky(MemoryLanes):
        async def settle(self, token: int, results: Sequence[Result]) -> bool:
            if any(result.delivery_id == 3 for result in results):
                raise Refused("attempt.bad", code="PT422")
            return await super().settle(token, results)

    database.dispatch(*[lane] * 6)
    async with running(make_runner(Picky(database))):
        await eventually(lambda: len(database.attempts) == 5)
    assert sorted(database.pending) == [3]
    assert len(receiver.received) == 6
