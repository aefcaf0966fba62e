"""The book: nothing lost, nothing sent twice, whatever order things happen in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.gateway.lanes import Delivery, Page, Result
from worker.webhooks.book import Book
from worker.webhooks.held import Backlog, HeldLane
from worker.webhooks.stock import Stock

T = TypeVar("T")
LEASE = timedelta(seconds=30)
LANES = 3
ORDERED = 3
"""The lane that sends the deliveries of an entity one after the other."""


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


def result(delivery: Delivery, outcome: str = "delivered") -> Result:
    return Result(
        delivery_id=delivery.delivery_id,
        lane_id=delivery.lane_id,
        attempt=delivery.attempt,
        event_id=delivery.event_id,
        type=delivery.type,
        outcome=outcome,  # type: ignore[arg-type]
        started_at=datetime.now(UTC),
        duration_ms=1.0,
        expires_at=datetime.now(UTC) + timedelta(hours=72),
        order_key=delivery.order_key,
        retry_in_seconds=5 if outcome == "retry" else None,
    )


class Interleavings(RuleBasedStateMachine):
    """A worker's book against the database, with every call cut in two: what the database did, and when the
    answer arrives. In between anything else may happen. Small bounds make queues overflow all the time.
    """

    lossless = False

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.db = Database(now=lambda: self.clock)
        self.store = MemoryLanes(self.db)
        self.book = Book(Stock(lane_queue=4, total_queue=8))
        self.under_way: list[tuple[HeldLane, Delivery]] = []
        self.to_settle: list[tuple[HeldLane, Result]] = []
        self.settling: tuple[int, bool, list[tuple[HeldLane, Result]]] | None = None
        self.reading: tuple[int, Backlog | None, bool, Page] | None = None
        self.sent: Counter[tuple[int, int]] = Counter()
        self.leases_lost = 0
        self.entities: dict[int, str] = {}
        self.ended: set[int] = set()
        for lane in range(LANES):
            self.db.endpoint(f"https://hook.example.com/{lane}", ordered=lane + 1 == ORDERED)

    # -- the world ---------------------------------------------------------------------------------------

    @rule(
        lanes=st.lists(st.integers(1, LANES), min_size=1, max_size=6),
        entity=st.sampled_from(["a", "a", "a", "b"]),
    )
    def dispatch(self, lanes: list[int], entity: str = "a") -> None:
        for lane, delivery_id in zip(lanes, self.db.dispatch(*lanes, order_key=entity), strict=True):
            if lane == ORDERED:
                self.entities[delivery_id] = entity

    @rule(lane=st.integers(1, LANES), paused=st.booleans())
    def pause_or_resume(self, lane: int, paused: bool) -> None:
        self.db.change(lane, paused=paused)

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        # short of the lease, which is renewed below: losing it is a rule of its own
        self.clock += seconds
        self.lease()

    @precondition(lambda self: not self.lossless and self.book.token is not None)
    @rule()
    def lose_the_lease(self) -> None:
        assert self.book.token is not None
        if self.db.valid(self.book.token):
            self.db.expire(self.book.token)
            self.leases_lost += 1

    # -- the keeper --------------------------------------------------------------------------------------

    @rule()
    def lease(self) -> None:
        self.book.adopt(done(self.store.lease(self.book.token, duration=LEASE)))

    # -- the reader --------------------------------------------------------------------------------------

    @precondition(lambda self: self.reading is None and self.book.token is not None)
    @rule(limit=st.integers(1, 5))
    def ask_for_the_tail(self, limit: int) -> None:
        token, live = self.book.token, self.book.any_live
        assert token is not None
        self.book.begin_read()
        page = done(
            self.store.read_tail(
                token,
                after=self.book.tail if live else 2**62,
                limit=limit,
                busy=set(self.book.stock.busy),
                closed=self.book.stock.closed_lane_ids(),
                behind=self.book.behind_lane_ids(),
            )
        )
        self.reading = (token, None, live, page)

    @precondition(lambda self: self.reading is None and self.book.token is not None)
    @rule(limit=st.integers(1, 5))
    def ask_for_a_backlog(self, limit: int) -> None:
        token, read = self.book.token, self.book.backlog()
        assert token is not None
        if read is None:
            return
        self.book.begin_read()
        page = done(
            self.store.read_backlog(
                token, lanes=read.lane_ids, after=read.after, through=self.book.tail or None, limit=limit
            )
        )
        self.reading = (token, read, True, page)

    @precondition(lambda self: self.reading is not None)
    @rule()
    def the_page_arrives(self) -> None:
        assert self.reading is not None
        token, read, firsts, page = self.reading
        self.reading = None
        if page.stale:
            if self.book.token == token:
                self.book.forget()
        elif self.book.token == token:
            if read is None:
                self.book.take_tail(page, firsts=firsts)
            else:
                self.book.take_backlog(read, page)
        self.book.end_read()
        self.line_up()

    # -- the auditor -------------------------------------------------------------------------------------

    @precondition(lambda self: self.book.token is not None)
    @rule()
    def audit(self) -> None:
        assert self.book.token is not None
        missed = done(
            self.store.find_missed(
                self.book.token,
                through=self.book.tail,
                in_hand=self.book.firsts_in_hand(),
                behind=self.book.unread_lane_ids(),
            )
        )
        if missed is None:
            return
        lane = self.db.pending[missed].lane_id
        told = self.db.lanes[lane].version != self.book.lanes[lane].lane.version
        assert told, "only what the tail skipped while its lane was paused can be missed"
        self.book.set_back(missed)

    @rule(delivery_id=st.integers(1, 40))
    def be_set_back(self, delivery_id: int) -> None:
        self.book.set_back(delivery_id)

    # -- the senders -------------------------------------------------------------------------------------

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        lanes = [held for held in self.book.lanes.values() if held.queue.ready and not held.lane.paused]
        if lanes:
            self.take(data.draw(st.sampled_from(lanes)))

    def take(self, held: HeldLane) -> None:
        delivery = self.book.take(held)
        self.under_way.append((held, delivery))
        assert delivery.version <= held.lane.version, "sent with the settings of before it was read"
        entity = self.entities.get(delivery.delivery_id)
        before = {i for i, other in self.entities.items() if other == entity and i < delivery.delivery_id}
        assert before <= self.ended, f"{delivery} overtakes {before - self.ended}"

    def answer(self, held: HeldLane, delivery: Delivery, outcome: str) -> None:
        self.sent[delivery.delivery_id, delivery.attempt] += 1
        self.book.sent(held, delivery, again=outcome == "retry")
        self.to_settle.append((held, result(delivery, outcome)))
        if outcome != "retry":
            self.ended.add(delivery.delivery_id)
        self.line_up()

    def line_up(self) -> None:
        for held, delivery in self.book.take_lining_up():
            self.to_settle.append((held, result(delivery, "blocked")))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(["delivered", "retry", "delivered", "failed"]))
    def the_endpoint_answers(self, data: st.DataObject, outcome: str) -> None:
        held, delivery = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.answer(held, delivery, outcome)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def it_could_not_be_sent(self, data: st.DataObject) -> None:
        held, delivery = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.book.put_back(held, delivery)

    # -- the settler -------------------------------------------------------------------------------------

    @precondition(lambda self: self.settling is None and self.to_settle and self.book.token is not None)
    @rule()
    def settle(self) -> None:
        token = self.book.token
        assert token is not None
        batch = [(held, r) for held, r in self.to_settle if self.book.holds(held)]
        self.to_settle = []
        kept = done(self.store.settle(token, [r for _, r in batch]))
        self.settling = (token, kept, batch)

    @precondition(lambda self: self.settling is not None)
    @rule()
    def the_settlement_arrives(self) -> None:
        assert self.settling is not None
        token, kept, batch = self.settling
        self.settling = None
        if kept:
            self.book.settled((held, settled.delivery_id) for held, settled in batch)
        elif self.book.token == token:
            self.book.forget()

    # -- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def memory_is_bounded(self) -> None:
        held = self.book.lanes.values()
        assert self.book.stock.queued == sum(lane.queued for lane in held)
        # what was put back comes on top of the bound, and was in hand before
        assert all(lane.queue.firsts <= 4 + lane.in_flight + len(lane.in_hand) for lane in held)

    @invariant()
    def nothing_is_sent_twice_while_no_lease_was_lost(self) -> None:
        if self.leases_lost == 0:
            assert not [key for key, times in self.sent.items() if times > 1]

    def teardown(self) -> None:
        """However it went: once the world stands still, everything owed is delivered."""
        for lane in range(1, LANES + 1):
            self.db.change(lane, paused=False)
        if self.reading is not None:
            self.the_page_arrives()
        for _ in range(400):
            self._round()
            if self.db.empty:
                break
        assert self.db.empty, f"lost: {sorted(self.db.pending)} {sorted(self.db.retries)}"
        ended = Counter(r.delivery_id for r in self.db.attempts if r.outcome != "retry")
        assert ended == Counter(range(1, self.db.last_id + 1)), "each ended once"
        self.nothing_is_sent_twice_while_no_lease_was_lost()

    def _round(self) -> None:
        self.clock += 6
        self.lease()
        for ask in (self.ask_for_a_backlog, self.ask_for_the_tail):
            if self.reading is None and self.book.token is not None:
                ask(3)
            if self.reading is not None:
                self.the_page_arrives()
        for held in list(self.book.lanes.values()):
            while held.queue.ready:
                self.take(held)
        under_way, self.under_way = self.under_way, []
        for held, delivery in under_way:
            self.answer(held, delivery, "delivered")
        if self.settling is not None:
            self.the_settlement_arrives()
        if self.to_settle:
            self.settle()
            self.the_settlement_arrives()


def test_a_lane_paused_and_resumed_unseen_is_read_again_from_the_start() -> None:
    world = Interleavings()
    world.lease()
    world.ask_for_a_backlog(limit=5)
    world.the_page_arrives()
    world.db.change(1, paused=True)
    world.db.dispatch(1, 2)
    world.ask_for_the_tail(limit=5)
    world.the_page_arrives()
    world.db.change(1, paused=False)
    world.lease()
    read = world.book.backlog()
    assert read is not None
    assert (read.lane_ids, read.after) == ([1], 0), "only the one that changed, and all of it"
    world.teardown()


class Full:
    """Ten lanes of one tenant, whose queues are all of the memory that it may have, and an empty one."""

    def __init__(self) -> None:
        self.db = Database(now=lambda: 0.0)
        self.book = Book(Stock(lane_queue=3200, total_queue=200))
        self.lanes = [self.db.endpoint("https://hook.example.com/") for _ in range(11)]
        self.store = MemoryLanes(self.db)
        self.book.adopt(done(self.store.lease(None, duration=LEASE)))
        self.read_backlog()
        self.db.dispatch(*self.lanes[:10] * 10)
        self.read_tail()
        assert self.book.stock.queued == 100

    def read_tail(self) -> None:
        book, token = self.book, self.book.token
        assert token is not None
        behind = book.behind_lane_ids()
        page = self.store.read_tail(token, after=book.tail, limit=1000, busy=(), closed=(), behind=behind)
        book.take_tail(done(page))

    def read_backlog(self) -> None:
        read, token = self.book.backlog(), self.book.token
        assert read is not None
        assert token is not None
        page = self.store.read_backlog(token, lanes=read.lane_ids, after=read.after, through=None, limit=1000)
        self.book.take_backlog(read, done(page))

    def held(self, lane: int) -> HeldLane:
        return self.book.lanes[self.lanes[lane]]


def test_when_a_tenant_is_full_all_its_lanes_leave_the_tail_and_are_read_together_again() -> None:
    world = Full()
    book = world.book
    world.db.dispatch(world.lanes[10], world.lanes[0])
    world.read_tail()
    assert book.stock.queued == 100
    assert len(book.behind_lane_ids()) == 11, "the tail need not be read through what none of them can take"
    assert book.backlog() is None, "there is no room"
    for lane in range(10):
        while world.held(lane).queued:
            book.sent(world.held(lane), book.take(world.held(lane)), again=False)
    read = book.backlog()
    assert read is not None
    assert len(read.lane_ids) == 11
    world.read_backlog()
    assert (world.held(10).queued, world.held(0).queued) == (1, 1)
    assert book.behind_lane_ids() == []


def test_lanes_that_are_parked_give_way_to_those_that_are_not() -> None:
    world = Full()
    for lane in range(10):
        world.held(lane).breaker.parked = True
        world.book.stock.measure(world.held(lane))
    world.db.dispatch(*[world.lanes[10]] * 4)
    world.read_tail()
    assert world.held(10).queued == 4
    assert world.book.stock.queued <= 100


class WithoutLoss(Interleavings):
    lossless = True


Interleavings.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
WithoutLoss.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestWithLeasesLost = Interleavings.TestCase
TestWithoutLosses = WithoutLoss.TestCase
