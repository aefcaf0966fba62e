"""The one place where tests and the platform wait: poll a condition until it holds or a deadline passes."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

INTERVAL = 0.02
"""Seconds between two looks."""


class DidNotHappenError(AssertionError):
    """The condition was still false (or still failing) at the deadline."""


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]],
    deadline: float = 10.0,
    *,
    what: str | None = None,
    interval: float = INTERVAL,
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T], deadline: float = 10.0, *, what: str | None = None, interval: float = INTERVAL
) -> T: ...
async def eventually(
    condition: Callable[[], T | Awaitable[T]],
    deadline: float = 10.0,
    *,
    what: str | None = None,
    interval: float = INTERVAL,
) -> T:
    """Poll `condition` until it returns something true, and return that.

    An `AssertionError` in the condition counts as "not yet", so a block of asserts can be waited for.
    `deadline` is in seconds from now. Raises `DidNotHappenError` with the last reason.
    """
    end = time.monotonic() + deadline
    while True:
        reason: object
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            reason = f"last value {value!r}"
        except AssertionError as error:
            reason = error
        if time.monotonic() >= end:
            raise DidNotHappenError(f"{what or _name(condition)} not within {deadline:g} s: {reason}")
        await asyncio.sleep(interval)


def wait_until(
    condition: Callable[[], T], deadline: float = 10.0, *, what: str | None = None, interval: float = INTERVAL
) -> T:
    """The same for code that is not async: the platform's own processes."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise DidNotHappenError(f"{what or _name(condition)} not within {deadline:g} s")
        time.sleep(interval)


def _name(condition: object) -> str:
    return getattr(condition, "__qualname__", repr(condition))
