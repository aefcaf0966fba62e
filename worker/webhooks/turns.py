"""Whose turn it is to send: round-robin over the lanes that have work and may go."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count

from worker.webhooks.held import HeldLane


class Turns:
    """Fair turns at a fixed number of send slots.

    Lanes that wait for a time (parked, `Retry-After`, rate limit) or for one of their own answers are not in
    the ring, so that a thousand of them cost nothing. When half of the slots are taken, no lane may hold more
    than its equal share of all of them.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots
        self._ring: deque[HeldLane] = deque()
        self._in_ring: set[HeldLane] = set()
        self._later: list[tuple[float, int, HeldLane]] = []
        self._is_later: set[HeldLane] = set()
        self._rivals: set[HeldLane] = set()
        """Lanes that are in the ring or have something under way."""
        self._order = count()

    def offer(self, held: HeldLane) -> None:
        """`held` may have something to send."""
        if held.queue.ready and held not in self._in_ring:
            self._in_ring.add(held)
            self._rivals.add(held)
            self._ring.append(held)

    def next(self, now: float) -> HeldLane | None:
        """The lane that may send now, given a free slot; None when there is none."""
        self._wake(now)
        if self.free <= 0:
            return None
        for _ in range(len(self._ring)):
            held = self._ring.popleft()
            if not held.queue.ready or held.in_flight >= held.allowance:
                self._leave_ring(held)  # offered again with its next delivery or answer
            elif now < held.not_before:
                self._leave_ring(held)
                self._sleep(held)
            else:
                self._ring.append(held)
                if held.in_flight < self._share():
                    return held
        return None

    def started(self, held: HeldLane, now: float) -> None:
        self.free -= 1
        self._rivals.add(held)
        held.rate.take(now)

    def finished(self, held: HeldLane) -> None:
        """To be called when `held` has counted its answer."""
        self.free += 1
        if held.in_flight == 0 and held not in self._in_ring:
            self._rivals.discard(held)
        self.offer(held)

    def next_wake(self) -> float | None:
        """The moment at which a waiting lane may go."""
        return self._later[0][0] if self._later else None

    def _share(self) -> int:
        if self.free * 2 > self.slots:
            return self.slots
        return max(1, self.slots // max(1, len(self._rivals)))

    def _leave_ring(self, held: HeldLane) -> None:
        self._in_ring.discard(held)
        if held.in_flight == 0:
            self._rivals.discard(held)

    def _sleep(self, held: HeldLane) -> None:
        if held not in self._is_later:
            self._is_later.add(held)
            heapq.heappush(self._later, (held.not_before, next(self._order), held))

    def _wake(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            held = heapq.heappop(self._later)[2]
            self._is_later.discard(held)
            self.offer(held)
