"""The runner of the webhook lanes: keeper, reader, senders and settler around one book.

    bell or poll -> reader -> book -> turns (a free slot first) -> attempt -> verdict -> settler -> database

An attempt is made only while the lease surely runs; what comes of it is written back only under that lease.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final, assert_never

from prometheus_client import CollectorRegistry

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.wake import DELIVERIES, ENDPOINTS
from worker.errors import GatewayError
from worker.gateway.lanes import Delivery, LaneStore
from worker.log import PART_FAILING, PART_WORKING, Logger, get_logger
from worker.webhooks.attempt import Kept, Settled, Trier
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane
from worker.webhooks.keeper import Keeper
from worker.webhooks.meter import STAGES, Meter
from worker.webhooks.reader import Reader
from worker.webhooks.settler import Finished, Settler
from worker.webhooks.turns import Turns
from worker.webhooks.verdict import lane_hold

LANE_PARKED: Final = "lane.parked"
LANE_BACK: Final = "lane.back"
LANE_GONE: Final = "lane.gone"
OUR_FAULT: Final = "lane.our_fault"
RELEASE_FAILED: Final = "lanes.release_failed"
LAST_CALLS: Final = timedelta(seconds=5)
FAR_AWAY: Final = timedelta(hours=1)
SOONEST: Final = 0.02


class WebhookRunner:
    """Implements `worker.engine.ports.Runner`."""

    name = "webhooks"

    def __init__(
        self,
        store: LaneStore,
        trier: Trier,
        *,
        clock: Clock,
        poll: timedelta,
        lease: timedelta,
        slots: int,
        registry: CollectorRegistry | None = None,
        told_elsewhere: tuple[type[Exception], ...] = (),
        close: Callable[[], Awaitable[None]] | None = None,
        book: Book | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._trier, self._clock, self._close = trier, clock, close
        self._chance = chance or random.Random()  # noqa: S311 - it only spreads retries
        self._book = book or Book()
        self._turns = Turns(slots)
        self.meter = Meter(registry)
        self.conditions = [
            Condition(name, clock, lost=PART_FAILING, back=PART_WORKING, told_elsewhere=told_elsewhere)
            for name in ("webhooks.lease", "webhooks.read", "webhooks.settle")
        ]
        """For /readyz, beside the engine's own."""
        leasing, reading, settling = self.conditions
        self._keeper = Keeper(
            store, self._book, clock=clock, condition=leasing, duration=lease, changed=self._lease_changed
        )
        self._reader = Reader(
            store, self._book, clock=clock, condition=reading, poll=poll, got=self._got, lost=self._lost
        )
        self._settler = Settler(
            store, self._book, clock=clock, condition=settling, wrote=self._wrote, lost=self._lost
        )
        self._sending: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._side: list[asyncio.Task[None]] = []
        self._stopping = False
        self._drained = asyncio.Event()
        self._timer = asyncio.Event()
        self._armed_for: float | None = None
        self._log: Logger = get_logger("worker.webhooks")

    # -- the runner's protocol ------------------------------------------------------------------------------

    def wake(self, lane: str) -> None:
        if lane == DELIVERIES:
            self._reader.wake()
        elif lane == ENDPOINTS:
            self._keeper.wake()

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            if self._close is not None:
                await self._close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._side = [
                group.create_task(part(), name=f"webhooks.{name}")
                for name, part in (
                    ("keeper", self._keeper.run),
                    ("reader", self._reader.run),
                    ("settler", self._settler.run),
                    ("timer", self._wake_lanes),
                )
            ]
            await self._drained.wait()

    async def drain(self, deadline: timedelta) -> None:
        """Starts nothing more, lets what is under way finish within `deadline`, writes it back and gives up
        the lease. What did not finish is cut off and not charged."""
        self._stopping = True
        try:
            if self._sending:
                await asyncio.wait(self._sending, timeout=deadline.total_seconds())
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            async with asyncio.timeout(LAST_CALLS.total_seconds()):
                await self._settler.flushed()
            for task in self._side:
                task.cancel()
            async with asyncio.timeout(LAST_CALLS.total_seconds()):
                await self._keeper.release()
        except (GatewayError, TimeoutError) as error:
            # the lease runs out by itself
            self._log.warning(RELEASE_FAILED, error=str(error) or type(error).__name__)
        finally:
            for task in self._side:
                task.cancel()
            self._drained.set()

    def stats(self) -> Mapping[str, float]:
        lanes = self._book.lanes.values()
        return {
            "lanes": len(lanes),
            "lanes_behind": sum(not held.live and not held.lane.paused for held in lanes),
            "lanes_parked": sum(held.breaker.parked for held in lanes),
            "queued": self._book.stock.queued,
            "in_flight": len(self._sending),
            "slots": self._turns.slots,
            "unsettled": self._settler.waiting,
            **{f"{stage}_seconds_total": self.meter.seconds[stage] for stage in STAGES},
        }

    # -- what the parts tell each other ---------------------------------------------------------------------

    def _lease_changed(self) -> None:
        self._reader.wake()
        self._fill()

    def _lost(self) -> None:
        self._keeper.lost()

    def _got(self, lanes: Iterable[HeldLane]) -> None:
        for held in lanes:
            self._turns.offer(held)
        self._fill()

    def _wrote(self, finished: Finished) -> None:
        self.meter.timed("answered_to_settled", self._clock.monotonic() - finished.answered_at)

    # -- sending --------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Starts attempts while there are a free slot, a lane whose turn it is, and a lease that runs."""
        if self._stopping or self._group is None or not self._keeper.valid:
            return
        now = self._clock.monotonic()
        while (held := self._turns.next(now)) is not None:
            delivery = self._book.take(held)
            self._turns.started(held)
            self.meter.timed("read_to_sent", now - delivery.read_at)
            task = self._group.create_task(self._attempt(held, delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        if self._turns.next_wake() != self._armed_for:
            self._timer.set()

    async def _attempt(self, held: HeldLane, delivery: Delivery) -> None:
        probe = held.breaker.parked
        try:
            tried = await self._trier.attempt(held.lane, delivery, probe=probe)
        except BaseException:
            # cut off: nobody was charged, and whoever reads it next sends it
            self._book.put_back(held, delivery)
            self._turns.finished(held)
            raise
        self.meter.timed("sent_to_answered", tried.answer.duration.total_seconds())
        hold = lane_hold(tried.answer)
        if hold is not None:
            held.breaker.hold(self._clock.monotonic(), hold.total_seconds())
        match tried:
            case Settled():
                self._settle(held, tried)
            case Kept():
                self._keep(held, delivery, tried)
        self._turns.finished(held)
        if self._book.wants_backlog(held):
            self._reader.wake()
        self._fill()

    def _keep(self, held: HeldLane, delivery: Delivery, tried: Kept) -> None:
        now, dice = self._clock.monotonic(), self._chance.random()
        if tried.verdict.ours:
            self.meter.counted("our_fault")
            self._log.warning(OUR_FAULT, endpoint=held.lane.endpoint_id, error=tried.answer.detail)
            held.breaker.paused_by_us(now, dice=dice)
        else:
            self.meter.counted("probe_failed")
            held.breaker.failed(now, dice=dice)
        self._book.put_back(held, delivery)

    def _settle(self, held: HeldLane, tried: Settled) -> None:
        now, verdict = self._clock.monotonic(), tried.verdict
        self.meter.counted(verdict.outcome)
        self._book.sent(held)
        self._settler.add(Finished(held, tried.result, now))
        match verdict.outcome:
            case "delivered":
                self._delivered(held)
            case "gone":
                self._log.warning(LANE_GONE, endpoint=held.lane.endpoint_id, lane=held.lane_id)
                self._book.pause(held)
            case "retry" | "failed":
                if held.breaker.failed(now, dice=self._chance.random()):
                    self._log.warning(
                        LANE_PARKED, endpoint=held.lane.endpoint_id, lane=held.lane_id, error=verdict.error
                    )
            case _:
                assert_never(verdict.outcome)

    def _delivered(self, held: HeldLane) -> None:
        if held.breaker.parked:
            self._log.info(LANE_BACK, endpoint=held.lane.endpoint_id, lane=held.lane_id)
            self._reader.wake()
        held.breaker.succeeded(held.lane.max_concurrency)

    async def _wake_lanes(self) -> None:
        """Starts what waits for a time: probes, and lanes that were asked to wait."""
        while True:
            self._timer.clear()
            at = self._armed_for = self._turns.next_wake()
            # without a lease a moment may lie in the past for long
            left = FAR_AWAY if at is None else timedelta(seconds=max(SOONEST, at - self._clock.monotonic()))
            await self._clock.wait(self._timer, left)
            self._fill()
