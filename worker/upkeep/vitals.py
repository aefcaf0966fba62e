"""The database's vital signs, looked at from time to time and shown at /metrics.

A look that fails keeps the last values; `pms_vitals_age_seconds` says how old they are. It never stops the
worker, and is no reason for /readyz either: what the worker needs to work has conditions of its own.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final, Protocol

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.errors import GatewayError
from worker.gateway.vitals import ENOUGH_PARTITIONS, QueueHealth

EVERY: Final = timedelta(seconds=15)
STALE: Final = timedelta(minutes=2)
"""What was seen longer ago is no reason any more: it may have been mended meanwhile."""


class Looks(Protocol):
    """The outside door."""

    async def look(self) -> QueueHealth:
        """Raises `GatewayError`."""
        ...


class Vitals:
    """The side task that looks, every 15 s give or take a fifth, so that many workers do not look at once."""

    name = "vitals"

    def __init__(
        self, door: Looks, *, clock: Clock, condition: Condition, chance: random.Random | None = None
    ) -> None:
        self._door, self._clock, self._condition = door, clock, condition
        self._chance = chance or random.Random()  # noqa: S311 - it only spreads looks
        self._seen_at = clock.monotonic()
        self.last: QueueHealth | None = None
        """What the last look that succeeded saw; None before the first."""

    @property
    def age(self) -> timedelta:
        """Since the last look that succeeded, or since the start."""
        return timedelta(seconds=self._clock.monotonic() - self._seen_at)

    async def run(self) -> None:
        while True:
            try:
                self.last = await self._door.look()
            except GatewayError as error:
                self._condition.failed(error)
            else:
                self._seen_at = self._clock.monotonic()
                self._condition.ok()
            await self._clock.sleep(EVERY * (0.8 + 0.4 * self._chance.random()))

    @property
    def reasons(self) -> list[str]:
        """Why the worker is not ready. Dispatch makes today's partition itself, so work goes on: but nobody
        makes any ahead."""
        seen = self._fresh
        if seen is None or seen.partitions_ahead_days >= 1:
            return []
        missing = "today's is missing" if seen.partitions_ahead_days < 0 else "none is made ahead"
        return [f"partitions: {missing}; the job upkeep.partitions does not run"]

    @property
    def notes(self) -> dict[str, str]:
        """What is degraded though the worker is ready."""
        seen = self._fresh
        if self.last is not None and seen is None:
            return {"vitals": f"the last look was {self.age.total_seconds():.0f} s ago"}
        if seen is None or self.reasons or seen.partitions_ahead_days >= ENOUGH_PARTITIONS:
            return {}
        return {"partitions": f"made {seen.partitions_ahead_days} days ahead; upkeep is late"}

    @property
    def _fresh(self) -> QueueHealth | None:
        return self.last if self.age < STALE else None
