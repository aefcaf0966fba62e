"""Sends what is in the book: a free slot first, then the lane whose turn it is, then one attempt.

What an attempt came to is counted on its lane and handed to be written back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final, assert_never

from worker.engine.clock import Clock
from worker.gateway.lanes import Delivery
from worker.log import Logger, get_logger
from worker.webhooks.answer import Answer
from worker.webhooks.attempt import Kept, Settled, Tried, Trier, lined_up
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane
from worker.webhooks.meter import Meter
from worker.webhooks.settler import Finished
from worker.webhooks.turns import Turn, Turns
from worker.webhooks.verdict import lane_hold, overloaded

LANE_PARKED: Final = "lane.parked"
LANE_BACK: Final = "lane.back"
LANE_GONE: Final = "lane.gone"
OUR_FAULT: Final = "lane.our_fault"
FAR_AWAY: Final = timedelta(hours=1)
SOONEST: Final = 0.02


class Senders:
    """Up to `slots` attempts at once. `allowed` tells whether the lease surely runs at a moment, `finished`
    hears of every attempt that counts, `room` that a lane may be read again.
    """

    def __init__(
        self,
        book: Book,
        trier: Trier,
        *,
        slots: int,
        clock: Clock,
        meter: Meter,
        chance: random.Random,
        allowed: Callable[[float], bool],
        finished: Callable[[Finished], None],
        room: Callable[[], None],
    ) -> None:
        self._book, self._trier, self._clock = book, trier, clock
        self._meter, self._chance = meter, chance
        self._allowed, self._finished, self._room = allowed, finished, room
        self._turns = Turns(slots)
        self._sending: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self._timer = asyncio.Event()
        self._armed_for: float | None = None
        self._log: Logger = get_logger("worker.webhooks")

    @property
    def in_flight(self) -> int:
        return len(self._sending)

    def start(self, group: asyncio.TaskGroup) -> None:
        """From now on attempts are made, as tasks of `group`."""
        self._group = group

    async def stop(self, deadline: timedelta) -> None:
        """Starts nothing more; what is under way may finish within `deadline`, the rest is cut off and not
        charged.
        """
        self._stopping = True
        if self._sending:
            await asyncio.wait(self._sending, timeout=deadline.total_seconds())
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def offer(self, lanes: Iterable[HeldLane]) -> None:
        """These have something to send, or to line up."""
        self.write_lining_up()
        for held in lanes:
            self._turns.offer(held)
        self.fill()

    def fill(self) -> None:
        """Starts attempts while there are a free slot, a lane whose turn it is, and a lease that runs."""
        if self._group is None:
            return
        while (work := self._next()) is not None:
            task = self._group.create_task(self._send(*work))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._arm()

    def _arm(self) -> None:
        at = self._turns.next_wake()
        # one that goes off too early looks again, one that is too late is never noticed
        if at is not None and (self._armed_for is None or at < self._armed_for):
            self._timer.set()

    async def wake_lanes(self) -> None:
        """Starts what waits for a time, for ever: probes, and lanes that were asked to wait."""
        while True:
            self._timer.clear()
            at = self._armed_for = self._turns.next_wake()
            # without a lease a moment may lie in the past for long
            left = FAR_AWAY if at is None else timedelta(seconds=max(SOONEST, at - self._clock.monotonic()))
            await self._clock.wait(self._timer, left)
            self.fill()

    def _next(self) -> tuple[Turn, Delivery] | None:
        """The next attempt, which counts as under way from now on."""
        now = self._clock.monotonic()
        if self._stopping or not self._allowed(now):
            return None
        held = self._turns.next(now)
        if held is None:
            return None
        delivery = self._book.take(held)
        self._meter.timed("read_to_sent", now - delivery.read_at)
        return self._turns.started(held, now), delivery

    async def _send(self, turn: Turn, delivery: Delivery) -> None:
        """One attempt, and then the next one that is due: a task for each would cost more than signing."""
        work: tuple[Turn, Delivery] | None = (turn, delivery)
        while work is not None:
            turn, delivery = work
            held = turn.held
            try:
                tried = await self._trier.attempt(held.lane, delivery, probe=held.breaker.parked)
            except BaseException:
                # cut off: nobody was charged, and whoever reads it next sends it
                self._book.put_back(held, delivery)
                self._turns.finished(turn)
                raise
            self._count(turn, delivery, tried)
            if tried.answer.status is None:
                await asyncio.sleep(0)  # it may have ended without a wait, and others are to have their turn
            work = self._next()
            if work is not None and self._turns.free > 0:
                self.fill()
            else:
                self._arm()

    def _count(self, turn: Turn, delivery: Delivery, tried: Tried) -> None:
        """What follows of it for its lane and its delivery."""
        held = turn.held
        self._meter.timed("sent_to_answered", tried.answer.seconds)
        now = self._clock.monotonic()
        self._heed(held, tried.answer, now, turn.began)
        match tried:
            case Settled():
                self._settle(held, delivery, tried, now)
            case Kept():
                self._keep(held, delivery, tried, now)
        self._turns.finished(turn)
        if self._book.wants_backlog(held):
            self._room()

    def _heed(self, held: HeldLane, answer: Answer, now: float, began: float) -> None:
        """What the answer says of how much the endpoint can take."""
        if answer.taken:
            held.window.succeeded(held.lane.max_concurrency)
            return
        hold = lane_hold(answer)
        if hold is not None:
            held.breaker.hold(now, hold.total_seconds())
        if overloaded(answer):
            held.window.overloaded(now, started=began)
        elif answer.status is not None:
            held.window.succeeded(held.lane.max_concurrency)

    def _keep(self, held: HeldLane, delivery: Delivery, tried: Kept, now: float) -> None:
        dice = self._chance.random()
        if tried.result is None:
            self._meter.counted("our_fault")
            self._log.warning(OUR_FAULT, endpoint=held.lane.endpoint_id, error=tried.answer.detail)
            held.breaker.paused_by_us(now, dice=dice)
        else:
            self._meter.counted("probe")
            held.breaker.failed(now, dice=dice)
            self._finished(Finished(held, tried.result, now))
        # the next probe takes another: one message that the endpoint refuses must not stand for all
        self._book.put_back(held, delivery, last=tried.result is not None)

    def _settle(self, held: HeldLane, delivery: Delivery, tried: Settled, now: float) -> None:
        verdict = tried.verdict
        self._meter.counted(verdict.outcome)
        self._finished(Finished(held, tried.result, now))
        self._book.sent(held, delivery, again=verdict.outcome == "retry")
        if held.lane.ordered:
            self.write_lining_up()
        match verdict.outcome:
            case "delivered":
                self._delivered(held)
            case "gone":
                self._log.warning(LANE_GONE, endpoint=held.lane.endpoint_id, lane=held.lane_id)
                self._book.pause(held)
            case "retry" | "failed":
                if held.breaker.failed(now, dice=self._chance.random()):
                    self._book.stock.measure(held)
                    self._log.warning(
                        LANE_PARKED, endpoint=held.lane.endpoint_id, lane=held.lane_id, error=verdict.error
                    )
            case "expired":
                pass  # it was not tried, so it says nothing of the endpoint
            case "probe" | "blocked":
                raise AssertionError(f"{verdict.outcome} is no verdict")
            case _:
                assert_never(verdict.outcome)

    def write_lining_up(self) -> None:
        """Hands on the first attempts that line up behind a retry of their entity."""
        for held, delivery in self._book.take_lining_up():
            self._meter.counted("blocked")
            result = lined_up(held.lane, delivery, self._clock.now())
            self._finished(Finished(held, result, self._clock.monotonic()))

    def _delivered(self, held: HeldLane) -> None:
        if held.breaker.parked:
            self._log.info(LANE_BACK, endpoint=held.lane.endpoint_id, lane=held.lane_id)
            self._room()
        held.breaker.succeeded(held.lane.max_concurrency)
