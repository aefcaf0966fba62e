"""A clock whose hands the test turns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# rounds of the loop that let every task run until it waits for something
_ROUNDS = 50


class ManualClock:
    """Time passes only in `advance`, and stops at each moment that somebody waits for."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._alarms: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> datetime:
        return START + timedelta(seconds=self._elapsed)

    async def sleep(self, duration: timedelta) -> None:
        await self._alarm(duration)

    async def wait(self, event: asyncio.Event, at_most: timedelta) -> bool:
        if event.is_set():
            await asyncio.sleep(0)
            return True
        rung, alarm = asyncio.ensure_future(event.wait()), self._alarm(at_most)
        try:
            either: list[asyncio.Future[object]] = [rung, alarm]  # type: ignore[list-item]  # invariant
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rung.cancel()
            alarm.cancel()
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Lets `seconds` pass, and everything happen that was waiting for it."""
        until = self._elapsed + seconds
        await settle()
        while due := [at for at, alarm in self._alarms if at <= until and not alarm.done()]:
            self._elapsed = max(self._elapsed, min(due))
            for at, alarm in self._alarms:
                if at <= self._elapsed and not alarm.done():
                    alarm.set_result(None)
            self._alarms = [(at, alarm) for at, alarm in self._alarms if not alarm.done()]
            await settle()
        self._elapsed = until

    def _alarm(self, duration: timedelta) -> asyncio.Future[None]:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if duration <= timedelta(0):
            alarm.set_result(None)
        else:
            self._alarms.append((self._elapsed + duration.total_seconds(), alarm))
        return alarm


async def settle() -> None:
    """Lets every task run until it waits for time or for somebody."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
