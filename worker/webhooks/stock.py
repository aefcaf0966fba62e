"""The deliveries that are in memory: in whose queue, how many, how large, and for whom there is room.

Pure: no I/O and no clock. How far each lane was read is the book's.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from worker.gateway.lanes import Delivery
from worker.webhooks.held import HeldLane

LANE_QUEUE: Final = 2000
LANE_RETRIES: Final = 100
PARKED_QUEUE: Final = 5
"""What a parked lane may keep when others need the room."""
TOTAL_QUEUE: Final = 20_000
TOTAL_BYTES: Final = 64 * 1024 * 1024


class Stock:
    """All that is queued, within bounds. `busy`: retries in hand, which the next tail read must leave out."""

    def __init__(
        self, *, lane_queue: int = LANE_QUEUE, total_queue: int = TOTAL_QUEUE, total_bytes: int = TOTAL_BYTES
    ) -> None:
        self.queued = 0
        self.busy: set[int] = set()
        self._bytes = 0
        self._stocked: set[HeldLane] = set()
        self._lane_queue, self._total_queue, self._total_bytes = lane_queue, total_queue, total_bytes
        self._of_tenant: Counter[str] = Counter()
        self._long: set[HeldLane] = set()
        """Those that can make room for others: few are long enough, and those that are parked."""
        self._long_of_tenant: Counter[str] = Counter()

    # -- room ---------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        return self.queued >= self._total_queue or self._bytes >= self._total_bytes

    def full_for(self, held: HeldLane) -> bool:
        """Whether its tenant has all that it may have: half of the memory is for the others."""
        return self.full or self._of_tenant[held.lane.tenant_id] * 2 >= self._total_queue

    def crowded_for(self, held: HeldLane) -> bool:
        """Whether its tenant has nearly all: less room than is worth a read."""
        return self.full or self._of_tenant[held.lane.tenant_id] * 20 >= self._total_queue * 9

    def can_make_room(self, held: HeldLane) -> bool:
        """Whether some lane is so long that it can give way to an empty one."""
        return bool(self._long) if self.full else self._long_of_tenant[held.lane.tenant_id] > 0

    def has_room(self, held: HeldLane) -> bool:
        return not self.full_for(held) and held.queue.firsts < self._lane_queue

    def half_empty(self, held: HeldLane) -> bool:
        return held.queue.firsts <= self._lane_queue // 2

    def takes_retries(self, held: HeldLane) -> bool:
        if held.lane.paused or (held.breaker.parked and held.queued):
            return False
        return held.queue.retries < LANE_RETRIES

    def closed_lane_ids(self) -> list[int]:
        """Lanes that take no retries now: parked ones with a probe at hand, and those with enough of them."""
        return [held.lane_id for held in self._stocked if not self.takes_retries(held)]

    def rival_of(self, held: HeldLane) -> HeldLane | None:
        """The lane that should make room for `held`, when memory is full; None: it must wait."""
        if held.queue.firsts >= self._lane_queue:
            return None
        rivals = (
            self._long if self.full else {r for r in self._long if r.lane.tenant_id == held.lane.tenant_id}
        )
        longest = max(rivals, key=lambda other: other.queue.firsts, default=held)
        # only from one with far more, else two would take turns in emptying each other
        return longest if longest.queue.firsts > 2 * held.queue.firsts + 1 else None

    # -- in and out ---------------------------------------------------------------------------------------

    def add(self, held: HeldLane, delivery: Delivery) -> None:
        """It was read, and is in hand until it is let go."""
        held.queue.add(delivery)
        self.hold(held, delivery)
        self._entered(held, delivery)

    def hold(self, held: HeldLane, delivery: Delivery) -> None:
        """It is in hand, though it is not queued."""
        held.in_hand[delivery.delivery_id] = delivery.retry
        if delivery.retry:
            self.busy.add(delivery.delivery_id)

    def take(self, held: HeldLane) -> Delivery:
        """The lane's next delivery. Raises `IndexError` when there is none that may go."""
        delivery = held.queue.take()
        self._left(held, delivery)
        return delivery

    def put_back(self, held: HeldLane, delivery: Delivery, *, last: bool) -> None:
        """One that was taken: it goes first again, or last."""
        held.queue.put_back(delivery, last=last)
        self._entered(held, delivery)

    def take_followers(self, held: HeldLane, key: str) -> list[Delivery]:
        """First attempts of the entity `key` that are queued; they stay in hand."""
        followers = held.queue.take_followers(key)
        for delivery in followers:
            self._left(held, delivery)
        return followers

    def let_go(self, held: HeldLane, delivery_id: int) -> None:
        """It is settled, or will be read again."""
        if held.in_hand.pop(delivery_id, False):
            self.busy.discard(delivery_id)

    def forget(self, held: HeldLane) -> None:
        """Nothing of it is in hand any more: it is somebody else's."""
        self.busy.difference_update(held.in_hand)
        held.in_hand.clear()

    def halve(self, held: HeldLane) -> None:
        """Lets go of about half of its first attempts."""
        self._dropped(held, held.queue.drop_last_half())

    def empty(self, held: HeldLane) -> None:
        """Lets go of all that is queued; what is under way stays in hand."""
        self._dropped(held, held.queue.clear())

    def _dropped(self, held: HeldLane, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._left(held, delivery)
            self.let_go(held, delivery.delivery_id)

    def _entered(self, held: HeldLane, delivery: Delivery) -> None:
        self.queued += 1
        self._of_tenant[held.lane.tenant_id] += 1
        self._bytes += len(delivery.body)
        self._stocked.add(held)
        if held not in self._long:
            self.measure(held)

    def _left(self, held: HeldLane, delivery: Delivery) -> None:
        self.queued -= 1
        self._of_tenant[held.lane.tenant_id] -= 1
        self._bytes -= len(delivery.body)
        if held in self._long:
            self.measure(held)
        if not held.queued:
            self._stocked.discard(held)

    def measure(self, held: HeldLane) -> None:
        """Whether it is long enough to give way to others; one that is parked soon is."""
        firsts = held.queue.firsts
        is_long = firsts * 32 > self._lane_queue or (held.breaker.parked and firsts > PARKED_QUEUE)
        if is_long and held not in self._long:
            self._long.add(held)
            self._long_of_tenant[held.lane.tenant_id] += 1
        elif not is_long and held in self._long:
            self._long.discard(held)
            self._long_of_tenant[held.lane.tenant_id] -= 1
