"""The runner of the webhook lanes: keeper, reader, senders, settler and auditor around one book.

    bell or poll -> reader -> book -> turns (a free slot first) -> attempt -> verdict -> settler -> database

An attempt is made only while the lease surely runs; what comes of it is written back only under that lease.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.wake import DELIVERIES, ENDPOINTS
from worker.errors import GatewayError
from worker.gateway.lanes import LaneStore
from worker.log import PART_FAILING, PART_WORKING, Logger, get_logger
from worker.webhooks.attempt import Trier
from worker.webhooks.auditor import Auditor
from worker.webhooks.book import Book
from worker.webhooks.held import HeldLane
from worker.webhooks.keeper import Keeper
from worker.webhooks.meter import STAGES, Meter
from worker.webhooks.reader import Reader
from worker.webhooks.senders import Senders
from worker.webhooks.settler import Settler

RELEASE_FAILED: Final = "lanes.release_failed"
LAST_CALLS: Final = timedelta(seconds=5)


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
        book: Book | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._clock, self._slots = clock, slots
        self._book = book or Book()
        self.meter = Meter(registry)
        leasing, reading, settling, auditing = (
            Condition(name, clock, lost=PART_FAILING, back=PART_WORKING, told_elsewhere=told_elsewhere)
            for name in ("webhooks.lease", "webhooks.read", "webhooks.settle", "webhooks.audit")
        )
        self.conditions = [leasing, reading, settling]
        """For /readyz, beside the engine's own; a worker that cannot audit works."""
        self._keeper = Keeper(
            store, self._book, clock=clock, condition=leasing, duration=lease, changed=self._lease_changed
        )
        self._reader = Reader(
            store,
            self._book,
            clock=clock,
            condition=reading,
            poll=poll,
            got=self._got,
            outdated=self._keeper.wake,
            lost=self._lost,
        )
        self._settler = Settler(
            store,
            self._book,
            clock=clock,
            condition=settling,
            meter=self.meter,
            room=self._room_to_send,
            lost=self._lost,
        )
        self._senders = Senders(
            self._book,
            trier,
            slots=slots,
            clock=clock,
            meter=self.meter,
            chance=chance or random.Random(),  # noqa: S311 - it only spreads retries
            allowed=lambda now: self._keeper.valid(now) and not self._settler.full,
            finished=self._settler.add,
            room=self._reader.wake,
        )
        self._auditor = Auditor(store, self._book, clock=clock, condition=auditing, found=self._reader.wake)
        self._side: list[asyncio.Task[None]] = []
        self._drained = asyncio.Event()
        self._log: Logger = get_logger("worker.webhooks")

    # -- the runner's protocol ------------------------------------------------------------------------------

    def wake(self, lane: str) -> None:
        if lane == DELIVERIES:
            self._reader.rang()
        elif lane == ENDPOINTS:
            self._keeper.wake()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._senders.start(group)
            self._side = [
                group.create_task(part(), name=f"webhooks.{name}")
                for name, part in (
                    ("keeper", self._keeper.run),
                    ("reader", self._reader.run),
                    ("settler", self._settler.run),
                    ("timer", self._senders.wake_lanes),
                    ("auditor", self._auditor.run),
                )
            ]
            await self._drained.wait()
            for task in self._side:
                task.cancel()

    async def drain(self, deadline: timedelta) -> None:
        """Starts nothing more, lets what is under way finish within `deadline`, writes it back and gives up
        the lease. What did not finish is cut off and not charged."""
        try:
            await self._senders.stop(deadline)
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
            self._drained.set()

    def stats(self) -> Mapping[str, float]:
        lanes = self._book.lanes.values()
        return {
            "lanes": len(lanes),
            "lanes_behind": sum(not held.live and not held.lane.paused for held in lanes),
            "lanes_parked": sum(held.breaker.parked for held in lanes),
            "queued": self._book.stock.queued,
            "in_flight": self._senders.in_flight,
            "slots": self._slots,
            "unsettled": self._settler.waiting,
            **{f"{stage}_seconds_total": self.meter.seconds[stage] for stage in STAGES},
        }

    # -- what the parts tell each other ---------------------------------------------------------------------

    def _lease_changed(self) -> None:
        self._reader.wake()
        self._senders.fill()

    def _got(self, lanes: Iterable[HeldLane]) -> None:
        self._senders.offer(lanes)

    def _room_to_send(self) -> None:
        self._senders.fill()

    def _lost(self) -> None:
        self._keeper.lost()
