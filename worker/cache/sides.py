"""Beside the job: the heartbeat that says that changes are told, and the calls that fill the cache again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from worker.cache.meter import CacheMeter
from worker.cache.store import CacheAway
from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.errors import GatewayError, KeyRefused
from worker.log import get_logger

BEAT: Final = timedelta(seconds=5)
LASTING: Final = timedelta(seconds=15)
"""Adapters read past the cache when nobody beat for so long."""
MOST_WAITING: Final = 1000
REST: Final = timedelta(seconds=1)
WARMING_FAILED: Final = "cache.warming_failed"
WARMING_REFUSED: Final = "cache.warming_refused"


class Beats(Protocol):
    """Redis. Raises `CacheAway`."""

    async def beat(self, name: str, *, lasting: timedelta) -> None: ...


class Heartbeat:
    """Beats while this worker does what it says: not while it cannot dispatch or claim jobs."""

    name = "cache.heartbeat"

    def __init__(
        self,
        store: Beats,
        worker: str,
        *,
        clock: Clock,
        condition: Condition,
        needs: Sequence[Condition],
        meter: CacheMeter,
    ) -> None:
        self._store, self._worker, self._clock = store, worker, clock
        self._condition, self._needs, self._meter = condition, needs, meter

    async def run(self) -> None:
        while True:
            working = all(need.holds for need in self._needs)
            if working:
                working = await self._beat()
            self._meter.alive(working)
            # what it needs is not known at the start, and comes at once
            known = all(need.known for need in self._needs)
            await self._clock.sleep(BEAT if known else timedelta(milliseconds=100))

    async def _beat(self) -> bool:
        try:
            await self._store.beat(self._worker, lasting=LASTING)
        except CacheAway as error:
            self._condition.failed(error)
            return False
        self._condition.ok()
        return True


class Warmth(Protocol):
    """The edge adapter. Raises `GatewayError`."""

    async def warm(self, tenant_id: str) -> None: ...


class Warmer:
    """Asks the adapter to fill the cache of tenants again, one after the other, each at most once a second. A
    call that fails is noted and forgotten: the first reader fills the cache as well."""

    name = "cache.warmer"

    def __init__(self, warmth: Warmth, *, clock: Clock, meter: CacheMeter) -> None:
        self._warmth, self._clock, self._meter = warmth, clock, meter
        self._waiting: dict[str, None] = {}
        self._rung = asyncio.Event()
        self._refused = False

    def ask(self, tenant_id: str) -> None:
        """Not more than there is room for."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting[tenant_id] = None
            self._rung.set()

    async def run(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            batch, self._waiting = list(self._waiting), {}
            for tenant_id in batch:
                await self._warm(tenant_id)
            await self._clock.sleep(REST)

    async def _warm(self, tenant_id: str) -> None:
        try:
            await self._warmth.warm(tenant_id)
        except KeyRefused as error:
            self._meter.warmed(ok=False)
            if not self._refused:  # nobody's caches are warmed until somebody sets the key: once is enough
                get_logger("worker.cache").warning(WARMING_REFUSED, error=str(error), hint=error.hint)
            self._refused = True
        except GatewayError as error:
            self._meter.warmed(ok=False)
            get_logger("worker.cache").debug(WARMING_FAILED, tenant_id=tenant_id, error=str(error))
        else:
            self._refused = False
            self._meter.warmed(ok=True)
