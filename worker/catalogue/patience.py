"""Waits out what passes by itself: an unreachable or busy Supabase, for a couple of minutes, saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_exponential_jitter,
)

from worker.errors import GatewayError

T = TypeVar("T")

PATIENCE: Final = timedelta(minutes=2)


class Patience:
    """Repeats calls that failed for a moment only; `say` gets a line for each wait.

    Every call that goes through here is harmless when repeated: reads, and imports, which count once. Unlike
    the engine's `Backoff`, which goes on for ever, it has an end, and tenacity brings that.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        limit: timedelta = PATIENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._say, self._limit, self._sleep = say, limit, sleep

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`. Raises its `GatewayError` when that is permanent or the limit is over."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, GatewayError) and e.transient),
            stop=stop_after_delay(self._limit),
            wait=wait_exponential_jitter(multiplier=0.5, max=10, jitter=1),
            sleep=self._sleep,
            before_sleep=self._waits,
            reraise=True,
        )

        async def attempt() -> T:
            return await call()

        # not `call` itself: tenacity awaits only what it can see to be a coroutine function
        return await retrying(attempt)

    def _waits(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._say(f"{error}; trying again in {state.upcoming_sleep:.1f} s")
