"""The dispatcher: looks at the outbox and wakes whoever has work from what it moved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.metrics import Metrics
from worker.engine.ports import CALL_IN_HAND, Dispatched, Outbox
from worker.engine.retry import Backoff, describe
from worker.engine.wake import (
    DELIVERIES,
    ENDPOINTS,
    JOBS,
    LANES,
    OUTBOX,
    Bell,
    Ear,
    Mood,
    Pace,
    PaceRules,
    SecondLook,
)
from worker.errors import GatewayError
from worker.log import ASLEEP, AWAKE, DISPATCHED, Logger, get_logger

# while writers are silent nobody rings for the other lanes either
AWAKE_ROUND: Final = timedelta(milliseconds=250)
LET_RING_WITHIN: Final = timedelta(seconds=2)
START: Final = "0"
# After a crash Postgres gives out again the transaction ids that had left no trace on disk, and a mark from
# before may lie beyond them: what commits under them would stay unseen. So no mark is trusted for long.
TRUST_MARK_FOR: Final = timedelta(seconds=10)


class Dispatcher:
    """The runner of the outbox. The mark of the last look makes an empty one cheap."""

    name = "dispatch"

    def __init__(
        self,
        outbox: Outbox,
        bell: Bell,
        *,
        clock: Clock,
        metrics: Metrics,
        condition: Condition,
        rules: PaceRules | None = None,
    ) -> None:
        self._outbox, self._bell, self._clock = outbox, bell, clock
        self._metrics, self._condition = metrics, condition
        self._pace = Pace(rules or PaceRules())
        self._ear = Ear(clock)
        self._backoff = Backoff(first=timedelta(milliseconds=100), longest=timedelta(seconds=5))
        self._mark, self._marked_at = START, float("-inf")
        self._round_at = float("-inf")
        self._again = SecondLook()
        self._stopping = False
        self._finished = asyncio.Event()
        self._log: Logger = get_logger("worker.dispatch")

    @property
    def mood(self) -> Mood:
        return self._pace.mood

    def wake(self, lane: str) -> None:
        if lane == OUTBOX:
            self._pace.rang(self._clock.monotonic())
            self._again.rang()
            self._ear.ring()

    async def run(self) -> None:
        try:
            while not self._stopping:
                await self._ear.wait(await self._look())
        finally:
            await self._let_ring()
            self._finished.set()

    async def drain(self, deadline: timedelta) -> None:
        """Stops after the look in hand: what is left in the outbox is everybody's."""
        self._stopping = True
        self._ear.ring()
        await self._clock.wait(self._finished, min(deadline, CALL_IN_HAND))

    def stats(self) -> Mapping[str, float]:
        return {"awake": float(self._pace.mood == "awake")}

    async def _look(self) -> timedelta:
        """Moves what is there; answers how long to wait for a ring before the next look."""
        self._again.begins()
        try:
            await self._ask_for_silence()
            started = self._clock.monotonic()
            if started - self._marked_at >= TRUST_MARK_FOR.total_seconds():
                self._mark, self._marked_at = START, started
            moved = await self._outbox.dispatch(self._mark)
        except GatewayError as error:
            self._condition.failed(error)
            self._mark = START  # it may have been a crash
            return self._backoff.next()
        self._condition.ok()
        self._backoff.reset()
        self._mark = moved.mark
        took = self._clock.monotonic() - started
        self._metrics.looked(moved, seconds=took)
        self._pass_on(moved)
        await self._change_mood(found=moved.events > 0)
        if not moved.drained:
            return timedelta(0)
        if moved.events:
            self._again.found()
        return self._again.pause(self._pace.pause(timedelta(seconds=took)))

    def _pass_on(self, moved: Dispatched) -> None:
        if moved.events:
            self._log.debug(DISPATCHED, events=moved.events, deliveries=moved.deliveries, jobs=moved.jobs)
        if moved.endpoints:
            self._bell.ring(ENDPOINTS)
        if moved.deliveries:
            self._bell.ring(DELIVERIES)
        if moved.jobs:
            self._bell.ring(JOBS)

    async def _change_mood(self, *, found: bool) -> None:
        now, before = self._clock.monotonic(), self._pace.mood
        self._pace.looked(now, found=found)
        if before != "awake" and self._pace.mood == "awake":
            self._log.debug(AWAKE)
        elif before == "awake" and self._pace.mood == "lingering":
            self._log.debug(ASLEEP)
            await self._let_ring()
        if self._pace.mood != "asleep" and now - self._round_at >= AWAKE_ROUND.total_seconds():
            self._round_at = now
            for lane in LANES:
                if lane != OUTBOX:
                    self._bell.ring(lane)

    async def _ask_for_silence(self) -> None:
        now = self._clock.monotonic()
        if self._pace.wants_silence(now):
            self._pace.silenced(now)
            try:
                await self._outbox.stay_awake(self._pace.rules.silence_for)
            except GatewayError as error:
                # then they go on ringing: no reason not to look
                self._log.debug("outbox.not_silent", error=describe(error))

    async def _let_ring(self) -> None:
        if self._pace.mood == "asleep":
            return
        try:
            # it also runs while the worker is torn down, when nobody bounds it any more
            async with asyncio.timeout(LET_RING_WITHIN.total_seconds()):
                await self._outbox.stay_awake(timedelta(0))
        except (GatewayError, TimeoutError) as error:
            # the silence runs out by itself, within the time that the worker lingers
            self._log.debug("outbox.still_silent", error=describe(error))
