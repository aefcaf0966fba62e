"""Whose turn it is to send: tenants in turn, and the lanes of each in turn, as far as slots are free."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Final

from worker.webhooks.held import HeldLane

SLOW_SECONDS: Final = 1.0
MOST_SLOW: Final = 3
"""How many times the slots may be under way besides, in requests that are slow."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request under way. `slow`: it has had its second, and no longer takes a slot."""

    held: HeldLane
    began: float
    slow: bool = False
    over: bool = False


class Turns:
    """Fair turns at a fixed number of send slots.

    A tenant with a thousand lanes gets its turns as one with a single lane does. Lanes that wait for a time
    (parked, `Retry-After`, rate limit) or for one of their own answers are not in the rings, so that a
    thousand of them cost nothing. When half of the slots are taken, no lane may hold more than its equal
    share. A request that is not answered within a second gives its slot back, up to a bound: endpoints that
    hang must not keep the others from sending.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._rings: dict[str, deque[HeldLane]] = {}
        """By tenant: the lanes that have something to send, in turn."""
        self._tenants: deque[str] = deque()
        """Tenants with a ring, each once."""
        self._in_ring: set[HeldLane] = set()
        self._rivals: set[HeldLane] = set()
        """Lanes that are in a ring or have something under way."""
        self._later: list[tuple[float, int, HeldLane]] = []
        self._is_later: set[HeldLane] = set()
        self._order = count()
        self._under_way: deque[Turn] = deque()
        """In the order in which they began; those that are slow have left."""
        self._quick = self._slow = 0

    @property
    def free(self) -> int:
        return self.slots - self._quick - max(0, self._slow - MOST_SLOW * self.slots)

    def offer(self, held: HeldLane) -> None:
        """`held` may have something to send."""
        if not held.queue.ready or held in self._in_ring:
            return
        tenant_id = held.lane.tenant_id
        if tenant_id not in self._rings:
            self._rings[tenant_id] = deque()
            self._tenants.append(tenant_id)
        self._rings[tenant_id].append(held)
        self._in_ring.add(held)
        self._rivals.add(held)

    def next(self, now: float) -> HeldLane | None:
        """The lane that may send now, given a free slot; None when there is none."""
        self._wake(now)
        self._let_slow_ones_go(now)
        if self.free <= 0:
            return None
        for _ in range(len(self._tenants)):
            tenant_id = self._tenants.popleft()
            ring = self._rings[tenant_id]
            held = self._next_of(ring, now)
            if ring:
                self._tenants.append(tenant_id)
            else:
                del self._rings[tenant_id]
            if held is not None:
                return held
        return None

    def started(self, held: HeldLane, now: float) -> Turn:
        """A request of `held` begins; hand the answer to `finished`."""
        held.rate.take(now)
        self._rivals.add(held)
        self._quick += 1
        turn = Turn(held, now)
        self._under_way.append(turn)
        return turn

    def finished(self, turn: Turn) -> None:
        """To be called when its lane has counted the answer."""
        turn.over = True
        if turn.slow:
            self._slow -= 1
        else:
            self._quick -= 1
        held = turn.held
        if held.in_flight == 0 and held not in self._in_ring:
            self._rivals.discard(held)
        self.offer(held)

    def next_wake(self) -> float | None:
        """The moment at which a waiting lane may go, or a slot comes back."""
        at = self._later[0][0] if self._later else None
        if self.free <= 0 and self._tenants and self._under_way:
            soon = self._under_way[0].began + SLOW_SECONDS
            at = soon if at is None else min(at, soon)
        return at

    def _next_of(self, ring: deque[HeldLane], now: float) -> HeldLane | None:
        for _ in range(len(ring)):
            held = ring.popleft()
            if not held.queue.ready or held.in_flight >= held.allowance:
                self._leave(held)  # offered again with its next delivery or answer
            elif now < held.not_before:
                self._leave(held)
                self._sleep(held)
            else:
                ring.append(held)
                if held.in_flight < self._share():
                    return held
        return None

    def _share(self) -> int:
        if self.free * 2 > self.slots:
            return self.slots
        return max(1, self.slots // max(1, len(self._rivals)))

    def _leave(self, held: HeldLane) -> None:
        self._in_ring.discard(held)
        if held.in_flight == 0:
            self._rivals.discard(held)

    def _let_slow_ones_go(self, now: float) -> None:
        while self._under_way and (self._under_way[0].over or self._under_way[0].began <= now - SLOW_SECONDS):
            turn = self._under_way.popleft()
            if not turn.over:
                turn.slow = True
                self._quick -= 1
                self._slow += 1

    def _sleep(self, held: HeldLane) -> None:
        if held not in self._is_later:
            self._is_later.add(held)
            heapq.heappush(self._later, (held.not_before, next(self._order), held))

    def _wake(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            held = heapq.heappop(self._later)[2]
            self._is_later.discard(held)
            self.offer(held)
