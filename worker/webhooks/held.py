"""One lane as it is held in memory. Only the book changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.gateway.lanes import Delivery, Lane
from worker.webhooks.breaker import Breaker


@dataclass(slots=True, eq=False)
class HeldLane:
    """One lane in memory. A new object stands for every time that the lane is taken."""

    lane: Lane
    breaker: Breaker = field(default_factory=Breaker)
    queue: deque[Delivery] = field(default_factory=deque)
    retries: deque[Delivery] = field(default_factory=deque)
    in_hand: dict[int, bool] = field(default_factory=dict)
    """Ids that are queued, under way or not settled yet; True for a retry."""
    in_flight: int = 0
    cursor: int = 0
    live: bool = False
    reread: int = 0
    """Grows whenever the cursor is set back, so that a read begun before does not count."""

    @property
    def lane_id(self) -> int:
        return self.lane.lane_id

    @property
    def queued(self) -> int:
        return len(self.queue) + len(self.retries)

    @property
    def quiet(self) -> bool:
        """Nothing under way and nothing to be settled: it can be given back without a duplicate."""
        return self.in_flight == 0 and len(self.in_hand) == self.queued


@dataclass(frozen=True, slots=True)
class Backlog:
    """A read that is due: these lanes, all from the same cursor. `marks`: their `reread` counts by then."""

    after: int
    marks: Mapping[HeldLane, int]

    @property
    def lane_ids(self) -> list[int]:
        return [held.lane_id for held in self.marks]
