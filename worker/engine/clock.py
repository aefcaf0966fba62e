"""Time, as something that is handed in, so that tests turn the hands themselves."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean something."""

    def now(self) -> datetime: ...
    async def sleep(self, duration: timedelta) -> None: ...
    async def wait(self, event: asyncio.Event, at_most: timedelta) -> bool:
        """Waits for `event`, but not longer than `at_most`; True when it is set."""


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)  # no frame of its own: deliveries ask ten times each

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())

    async def wait(self, event: asyncio.Event, at_most: timedelta) -> bool:
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True
