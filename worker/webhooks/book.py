"""What this worker holds in memory: which lanes, and how far each was read.

Pure: no I/O and no clock. The invariant by which nothing is lost: *every delivery of a live lane up to the
tail mark, and of any other lane up to its own cursor, is in hand or settled.* A lane is live while it takes
from the tail, which is read for all lanes together; it is behind when its queue in memory was full, or when
it was just taken or resumed. A lane that is behind is read on its own from its cursor, and is live again once
such a read was complete. Reads must not overlap each other; everything else may happen at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from worker.gateway.lanes import Delivery, Lease, Page
from worker.webhooks.held import Backlog, HeldLane
from worker.webhooks.stock import Stock

TOGETHER: Final = 1000
"""How far apart the cursors of lanes may be, in ids, that are read together."""


class Book:
    """All lanes of one lease. `tail`: the mark up to which the live lanes were read."""

    def __init__(self, stock: Stock | None = None) -> None:
        self.stock = stock or Stock()
        self.token: int | None = None
        self.tail = 0
        self.lanes: dict[int, HeldLane] = {}
        self._behind: set[HeldLane] = set()
        self._reading = False
        self._gone_while_reading: set[int] = set()
        self._missed: int | None = None
        self._lining_up: list[tuple[HeldLane, Delivery]] = []
        self._found_outdated = False

    # -- lanes --------------------------------------------------------------------------------------------

    def adopt(self, lease: Lease) -> None:
        """Takes over what the lease call told.

        Another token than before means that the former lease was lost: everything under it is forgotten.
        """
        if lease.token != self.token:
            self.forget()
            self.token = lease.token
        told = {lane.lane_id: lane for lane in lease.lanes}
        for lane_id in self.lanes.keys() - told.keys():
            self.drop(lane_id)
        for lane_id, lane in told.items():
            held = self.lanes.get(lane_id)
            if held is None:
                held = self.lanes[lane_id] = HeldLane(lane)
                self._behind.add(held)
            elif lane.paused and not held.lane.paused:
                self.pause(held)
            elif lane.version != held.lane.version:
                # perhaps paused and resumed between two lease calls: meanwhile the tail skipped it
                self._fall_behind(held, 0)
            if lane.ordered != held.lane.ordered:
                self._empty(held)
            held.become(lane)

    def pause(self, held: HeldLane) -> None:
        """Sends nothing more of this lane until a lease call says that it is active."""
        self._empty(held)
        held.lane = replace(held.lane, paused=True)

    def forget(self) -> None:
        """Drops all lanes: their deliveries will be read again, under whatever lease holds them."""
        for lane_id in list(self.lanes):
            self.drop(lane_id)
        self.tail = 0

    def drop(self, lane_id: int) -> None:
        held = self.lanes.pop(lane_id, None)
        if held is not None:
            self._empty(held)
            self._behind.discard(held)
            self.stock.forget(held)

    def holds(self, held: HeldLane) -> bool:
        """Whether `held` is still the one that stands for its lane."""
        return self.lanes.get(held.lane_id) is held

    @property
    def any_live(self) -> bool:
        return len(self._behind) < len(self.lanes)

    # -- reading ------------------------------------------------------------------------------------------

    def begin_read(self) -> None:
        """To be called before each read: what is settled from here on may still be in its answer."""
        if self._reading:
            raise RuntimeError("reads of one book must not overlap")
        self._reading = True
        self._gone_while_reading.clear()

    def end_read(self) -> None:
        self._reading = False
        if self._missed is not None:
            missed, self._missed = self._missed, None
            self.set_back(missed)

    def set_back(self, delivery_id: int) -> None:
        """This one may lie before the tail unread: the tail is read again from before it."""
        if self._reading:  # the answer under way would move the mark on
            self._missed = delivery_id if self._missed is None else min(delivery_id, self._missed)
        else:
            self.tail = min(self.tail, delivery_id - 1)

    def firsts_in_hand(self) -> list[int]:
        """First attempts that are queued, under way or not settled yet."""
        return [
            delivery_id
            for held in self.lanes.values()
            for delivery_id, retry in held.in_hand.items()
            if not retry
        ]

    def unread_lane_ids(self) -> list[int]:
        """Lanes that were not read up to the tail."""
        return [held.lane_id for held in self._behind]

    def behind_lane_ids(self) -> list[int]:
        """Lanes whose first attempts the tail need not bring: they are read on their own."""
        return [held.lane_id for held in self._behind if not held.lane.paused]

    def take_tail(self, page: Page, *, firsts: bool = True) -> list[HeldLane]:
        """Takes in a tail read, for retries alone if not `firsts`; answers the lanes that got something."""
        got: dict[HeldLane, None] = {}
        for delivery in page.deliveries:
            held = self.lanes.get(delivery.lane_id)
            if held is None or held.lane.paused or self._known(held, delivery):
                continue
            if delivery.retry:
                if not self._outdates(held, delivery) and self.stock.takes_retries(held):
                    self.stock.add(held, delivery)
                    got[held] = None
            elif held.live:
                if held.lines_up(delivery):
                    self._line_up(held, delivery)
                elif self._outdates(held, delivery):
                    self._fall_behind(held, delivery.delivery_id - 1)
                elif self._make_room(held):
                    self.stock.add(held, delivery)
                    got[held] = None
                else:
                    self._leave_behind(held, delivery.delivery_id - 1)
        if firsts:
            self.tail = max(self.tail, page.after)
        return list(got)

    def wants_backlog(self, held: HeldLane) -> bool:
        """Whether it is behind and has room for half a queue."""
        if held.live or held.lane.paused or held.outdated or not self.stock.half_empty(held):
            return False
        if held.breaker.parked:
            return held.queued == 0  # it needs no more than its next probe
        if self.stock.crowded_for(held):
            return held.queued == 0 and self.stock.can_make_room(held)
        return True

    def backlog(self) -> Backlog | None:
        """The next read of lanes that are behind and have room; None: there is none."""
        waiting = [held for held in self._behind if self.wants_backlog(held)]
        if not waiting:
            return None
        after = min(held.cursor for held in waiting)
        # those a little further on go with it: what they are told again is known, and a read each is dearer
        return Backlog(after, {held: held.reread for held in waiting if held.cursor < after + TOGETHER})

    def take_backlog(self, read: Backlog, page: Page) -> list[HeldLane]:
        """Takes in the answer to `read`; answers the lanes that got something."""
        still = {
            held: None
            for held, mark in read.marks.items()
            if self.holds(held) and held.reread == mark and not held.lane.paused
        }
        got: dict[HeldLane, None] = {}
        for delivery in page.deliveries:
            held = self.lanes.get(delivery.lane_id)
            if held is None or held not in still or self._known(held, delivery):
                continue
            if held.lines_up(delivery):
                self._line_up(held, delivery)
            elif not self._outdates(held, delivery) and self._make_room(held):
                self.stock.add(held, delivery)
                got[held] = None
            else:
                held.cursor = max(held.cursor, delivery.delivery_id - 1)
                del still[held]
        if not page.more and not self.any_live:
            # nobody depends on the tail yet, so it may start where this read ended
            self.tail = max(self.tail, page.after)
        for held in still:
            if held.reread == read.marks[held]:
                held.cursor = max(held.cursor, page.after)
                if not page.more:
                    held.live = True
                    self._behind.discard(held)
        return list(got)

    def take_outdated(self) -> bool:
        """Whether reads came upon lanes that must be described again, told once."""
        found, self._found_outdated = self._found_outdated, False
        return found

    # -- sending ------------------------------------------------------------------------------------------

    def take(self, held: HeldLane) -> Delivery:
        """The lane's next delivery, under way from now on. Raises `IndexError` when there is none."""
        delivery = self.stock.take(held)
        held.in_flight += 1
        return delivery

    def put_back(self, held: HeldLane, delivery: Delivery, *, last: bool = False) -> None:
        """It was not sent, or must not count: it goes first again, or `last`."""
        held.in_flight -= 1
        if not self.holds(held):
            return
        if held.lane.paused:
            held.queue.ended(delivery)
            self.stock.let_go(held, delivery.delivery_id)
            self._fall_behind(held, 0)
            return
        self.stock.put_back(held, delivery, last=last)

    def sent(self, held: HeldLane, delivery: Delivery, *, again: bool) -> None:
        """It was sent; its id stays in hand until it is settled. `again`: it will be tried again, and in an
        ordered lane its entity waits for that."""
        held.in_flight -= 1
        held.queue.ended(delivery)
        key = delivery.order_key
        if not held.lane.ordered or key is None:
            return
        if again:
            held.waiting.add(key)
            for follower in self.stock.take_followers(held, key):
                self._lining_up.append((held, follower))
        elif delivery.retry:
            held.waiting.discard(key)

    def take_lining_up(self) -> list[tuple[HeldLane, Delivery]]:
        """First attempts that must be written back as blocked, each told once; they stay in hand until
        then."""
        told, self._lining_up = self._lining_up, []
        return told

    def settled(self, written: Iterable[tuple[HeldLane, int]]) -> None:
        """These were written back: lanes and delivery ids."""
        for held, delivery_id in written:
            # of a lane that was dropped meanwhile nothing is in hand
            self.stock.let_go(held, delivery_id)
            if self._reading:
                self._gone_while_reading.add(delivery_id)

    # -- inside -------------------------------------------------------------------------------------------

    def _known(self, held: HeldLane, delivery: Delivery) -> bool:
        return delivery.delivery_id in held.in_hand or delivery.delivery_id in self._gone_while_reading

    def _outdates(self, held: HeldLane, delivery: Delivery) -> bool:
        """Whether it was read after a change of its endpoint that the lane does not know (another secret,
        another URL), so that it must wait for the next lease call."""
        if delivery.version <= held.lane.version:
            return False
        held.wanted = max(held.wanted, delivery.version)
        self._found_outdated = True
        return True

    def _line_up(self, held: HeldLane, delivery: Delivery) -> None:
        self.stock.hold(held, delivery)
        self._lining_up.append((held, delivery))

    def _fall_behind(self, held: HeldLane, cursor: int) -> None:
        held.live, held.cursor = False, cursor
        held.reread += 1
        if self.holds(held):
            self._behind.add(held)

    def _leave_behind(self, held: HeldLane, cursor: int) -> None:
        """There was no room for it. If its tenant has all that it may have, the tenant's other lanes go with
        it: the tail, which is everybody's, is not read through what one tenant cannot take."""
        if self.stock.full_for(held):
            for other in self.lanes.values():
                if other.live and other.lane.tenant_id == held.lane.tenant_id:
                    self._fall_behind(other, cursor)
        else:
            self._fall_behind(held, cursor)

    def _make_room(self, held: HeldLane) -> bool:
        if self.stock.has_room(held):
            return True
        rival = self.stock.rival_of(held)
        if rival is None:
            return False
        self.stock.halve(rival)
        # from the start, not from the first one taken out: what was put back does not stand in order
        self._fall_behind(rival, 0)
        return True

    def _empty(self, held: HeldLane) -> None:
        self.stock.empty(held)
        self._fall_behind(held, 0)
