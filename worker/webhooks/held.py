"""One lane as it is held in memory. Only the book changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.gateway.lanes import Delivery, Lane
from worker.webhooks.breaker import Breaker
from worker.webhooks.lane_queue import LaneQueue, OrderedQueue, PlainQueue
from worker.webhooks.rate import Rate
from worker.webhooks.window import Window


@dataclass(slots=True, eq=False)
class HeldLane:
    """One lane in memory. A new object stands for every time that the lane is taken."""

    lane: Lane
    breaker: Breaker = field(default_factory=Breaker)
    window: Window = field(default_factory=Window)
    rate: Rate = field(init=False)
    queue: LaneQueue = field(init=False)
    waiting: set[str] = field(default_factory=set)
    """Of an ordered lane: the entities that wait for a retry, so that what follows lines up behind it."""
    in_hand: dict[int, bool] = field(default_factory=dict)
    """Ids that are queued, under way or not settled yet; True for a retry."""
    in_flight: int = 0
    cursor: int = 0
    live: bool = False
    wanted: int = 0
    """The latest version of its endpoint that was seen."""
    reread: int = 0
    """Grows whenever the cursor is set back, so that a read begun before does not count."""

    def __post_init__(self) -> None:
        self.rate = Rate(self.lane.rate_limit)
        self.queue = _queue(self.lane)

    @property
    def lane_id(self) -> int:
        return self.lane.lane_id

    @property
    def queued(self) -> int:
        return len(self.queue)

    @property
    def outdated(self) -> bool:
        """Its endpoint was changed since it was described: it takes nothing until a lease call tells how."""
        return self.wanted > self.lane.version

    @property
    def allowance(self) -> int:
        """How many may be under way at once."""
        most = self.lane.max_concurrency
        return min(self.breaker.allowance(most), self.window.allowance(most))

    @property
    def not_before(self) -> float:
        """When the next may be sent, in monotonic seconds."""
        earliest = self.breaker.not_before
        return earliest if self.rate.per_second is None else max(earliest, self.rate.not_before)

    @property
    def quiet(self) -> bool:
        """Nothing under way and nothing to be settled: it can be given back without a duplicate."""
        return self.in_flight == 0 and len(self.in_hand) == self.queued

    def lines_up(self, delivery: Delivery) -> bool:
        """Whether this first attempt must wait behind a retry of its entity."""
        return self.lane.ordered and (delivery.blocked or delivery.order_key in self.waiting)

    def become(self, lane: Lane) -> None:
        """Takes on other settings. Its queue must be empty if they change the order."""
        if lane.ordered != self.lane.ordered:
            self.queue = _queue(lane)
            self.waiting.clear()
        if lane.rate_limit != self.lane.rate_limit:
            self.rate = Rate(lane.rate_limit)
        self.window.shrunk_to(lane.max_concurrency)
        self.lane = lane


def _queue(lane: Lane) -> LaneQueue:
    return OrderedQueue() if lane.ordered else PlainQueue()


@dataclass(frozen=True, slots=True)
class Backlog:
    """A read that is due, of these lanes, from the lowest of their cursors. `marks`: their `reread` counts by
    then."""

    after: int
    marks: Mapping[HeldLane, int]

    @property
    def lane_ids(self) -> list[int]:
        return [held.lane_id for held in self.marks]
