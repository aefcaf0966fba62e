"""Whose turn it is to send: tenants in turn, and the lanes of each in turn, as far as slots are free."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class _Tenant:
    """Its lanes: `ring` has what may be sent, in turn; `rivals` are those in the ring or with something under
    way; `sated` have their share under way and more to send, and `sated_at` is the least share of theirs."""

    ring: deque[HeldLane] = field(default_factory=deque)
    rivals: set[HeldLane] = field(default_factory=set)
    sated: set[HeldLane] = field(default_factory=set)
    sated_at: float = math.inf
    in_turn: bool = False


class Turns:
    """Fair turns at a fixed number of send slots.

    A tenant with a thousand lanes gets its turns as one with a single lane does. Lanes that wait for a time
    (parked, `Retry-After`, rate limit) or for one of their own answers are not in the rings, so that a
    thousand of them cost nothing. When half of the slots are taken, no lane may hold more than its equal
    share of its tenant's equal share, and one that has it is in no ring either. A request that is not
    answered within a second gives its slot back, up to a bound: endpoints that hang must not keep the others
    from sending.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._tenants: dict[str, _Tenant] = {}
        """Those that have rivals."""
        self._in_turn: deque[_Tenant] = deque()
        """Those with something in their ring, each once."""
        self._in_ring: set[HeldLane] = set()
        self._sated: set[_Tenant] = set()
        """Those that have sated lanes."""
        self._later: list[tuple[float, int, HeldLane]] = []
        self._is_later: set[HeldLane] = set()
        self._order = count()
        self._under_way: deque[Turn] = deque()
        """In the order in which they began; those that are slow have left."""
        self._slow = 0
        self.free = slots
        """0 or less: nothing may begin."""

    def offer(self, held: HeldLane) -> None:
        """`held` may have something to send."""
        if held in self._in_ring or not held.queue.ready:
            return
        tenant = self._tenants.get(held.lane.tenant_id)
        if tenant is None:
            tenant = self._tenants[held.lane.tenant_id] = _Tenant()
        tenant.rivals.add(held)
        tenant.sated.discard(held)
        tenant.ring.append(held)
        self._in_ring.add(held)
        if not tenant.in_turn:
            tenant.in_turn = True
            self._in_turn.append(tenant)

    def next(self, now: float) -> HeldLane | None:
        """The lane that may send now, given a free slot; None when there is none."""
        if self._later:
            self._wake(now)
        self._let_slow_ones_go(now)
        free = self.free
        if free <= 0:
            return None
        plenty = free * 2 > self.slots
        if plenty and self._sated:
            self._call_back(self._sated)
        for _ in range(len(self._in_turn)):
            tenant = self._in_turn.popleft()
            held = self._next_of(tenant, now, self.slots if plenty else self._share(tenant))
            if tenant.ring:
                self._in_turn.append(tenant)
            else:
                tenant.in_turn = False
            if held is not None:
                return held
        return None

    def started(self, held: HeldLane, now: float) -> Turn:
        """A request of `held`, which is whom `next` named, begins; hand the answer to `finished`."""
        held.rate.take(now)
        self.free -= 1
        turn = Turn(held, now)
        self._under_way.append(turn)
        return turn

    def finished(self, turn: Turn) -> None:
        """To be called when its lane has counted the answer."""
        turn.over = True
        if turn.slow:
            self._slow -= 1
            self.free += self._slow >= MOST_SLOW * self.slots
        else:
            self.free += 1
        held = turn.held
        self.offer(held)
        if held.in_flight == 0 and held not in self._in_ring:
            self._gone(held)

    def next_wake(self) -> float | None:
        """The moment at which a waiting lane may go, or a slot comes back."""
        at = self._later[0][0] if self._later else None
        if self.free <= 0 and (self._in_turn or self._sated) and self._under_way:
            soon = self._under_way[0].began + SLOW_SECONDS
            at = soon if at is None else min(at, soon)
        return at

    def _share(self, tenant: _Tenant) -> int:
        """How many requests one of its lanes may have under way when slots are scarce."""
        return max(1, self.slots // len(self._tenants) // len(tenant.rivals))

    def _next_of(self, tenant: _Tenant, now: float, share: int) -> HeldLane | None:
        ring = tenant.ring
        while ring:
            held = ring.popleft()
            if not held.queue.ready or held.in_flight >= held.allowance:
                self._leave(held)  # offered again with its next delivery or answer
            elif now < held.not_before:
                self._leave(held)
                self._sleep(held)
            elif held.in_flight >= share:
                self._leave(held)  # offered again with its next answer, or when shares grow
                tenant.sated.add(held)
                tenant.sated_at = min(tenant.sated_at, share)
                self._sated.add(tenant)
            else:
                ring.append(held)
                return held
        return None

    def _leave(self, held: HeldLane) -> None:
        self._in_ring.discard(held)
        if held.in_flight == 0:
            self._gone(held)

    def _gone(self, held: HeldLane) -> None:
        """It is no rival any more, so the others' shares may have grown."""
        tenant = self._tenants.get(held.lane.tenant_id)
        if tenant is None or held not in tenant.rivals:
            return
        tenant.rivals.discard(held)
        if not tenant.rivals:
            del self._tenants[held.lane.tenant_id]
            self._sated.discard(tenant)
            grown = self._sated
        else:
            grown = {tenant} if tenant.sated else set()
        self._call_back({each for each in grown if self._share(each) > each.sated_at})

    def _call_back(self, tenants: Set[_Tenant]) -> None:
        """Whoever had enough may want more."""
        for tenant in list(tenants):
            sated, tenant.sated, tenant.sated_at = tenant.sated, set(), math.inf
            self._sated.discard(tenant)
            for held in sated:
                self.offer(held)

    def _let_slow_ones_go(self, now: float) -> None:
        while self._under_way and (self._under_way[0].over or self._under_way[0].began <= now - SLOW_SECONDS):
            turn = self._under_way.popleft()
            if not turn.over:
                turn.slow = True
                self.free += self._slow < MOST_SLOW * self.slots
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
