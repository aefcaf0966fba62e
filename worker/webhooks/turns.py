"""Whose turn it is to send: tenants in turn, and the lanes of each in turn, as far as slots are free."""

from __future__ import annotations

import heapq
import math
from collections import deque
from itertools import count
from typing import Final

from msgspec import Struct

from worker.webhooks.held import HeldLane

SLOW_SECONDS: Final = 1.0
MOST_SLOW: Final = 3
"""How many times the slots may be under way besides, in requests that are slow."""


class Turn(Struct, gc=False, eq=False):
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
    share, and one that has it is in no ring either. A request that is not answered within a second gives its
    slot back, up to a bound: endpoints that hang must not keep the others from sending.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._rings: dict[str, deque[HeldLane]] = {}
        """By tenant: the lanes that have something to send, in turn."""
        self._tenants: deque[str] = deque()
        """Tenants with a ring, each once."""
        self._in_ring: set[HeldLane] = set()
        self._sated: set[HeldLane] = set()
        """Lanes that have their share under way, and more to send."""
        self._sated_at = math.inf
        """The least share at which one of them was left out of its ring."""
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
        self._sated.discard(held)
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
        if self._later:
            self._wake(now)
        self._let_slow_ones_go(now)
        free = self.free
        if free <= 0:
            return None
        share = self.slots if free * 2 > self.slots else max(1, self.slots // max(1, len(self._rivals)))
        if share > self._sated_at:
            self._call_back()
        for _ in range(len(self._tenants)):
            tenant_id = self._tenants.popleft()
            ring = self._rings[tenant_id]
            held = self._next_of(ring, now, share)
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
        if self.free <= 0 and (self._tenants or self._sated) and self._under_way:
            soon = self._under_way[0].began + SLOW_SECONDS
            at = soon if at is None else min(at, soon)
        return at

    def _next_of(self, ring: deque[HeldLane], now: float, share: int) -> HeldLane | None:
        while ring:
            held = ring.popleft()
            if not held.queue.ready or held.in_flight >= held.allowance:
                self._leave(held)  # offered again with its next delivery or answer
            elif now < held.not_before:
                self._leave(held)
                self._sleep(held)
            elif held.in_flight >= share:
                self._leave(held)
                self._sated.add(held)  # offered again with its next answer, or when shares grow
                self._sated_at = min(self._sated_at, share)
            else:
                ring.append(held)
                return held
        return None

    def _call_back(self) -> None:
        """Shares have grown: whoever had enough may want more."""
        sated, self._sated, self._sated_at = self._sated, set(), math.inf
        for held in sated:
            self.offer(held)

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
