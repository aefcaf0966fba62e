"""Errors become outcomes here and nowhere else. Pure: no clock, no I/O, chance is handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from worker.engine.job import Bury, Outcome, Retry, Snooze
from worker.errors import (
    BadAnswer,
    GatewayError,
    HostBusy,
    HostRefused,
    HostUnconfigured,
    HostUnreachable,
    KeyRefused,
    PayloadError,
    Refused,
    SchemaMissing,
    TokenRefused,
)

FIRST_RETRY: Final = timedelta(seconds=5)
LONGEST_RETRY: Final = timedelta(hours=1)
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
OUR_FAULT_PAUSE: Final = timedelta(seconds=10)
MAX_ERROR_CHARS: Final = 2_000


def outcome_of(error: Exception, *, attempt: int, max_attempts: int, chance: random.Random) -> Outcome:
    """What becomes of a job whose handler raised `error` on its `attempt` (from 1).

    Our own faults (Supabase or the image host away, a wrong key, a missing migration) charge nothing, nor
    does a rate limit. What the database or the host refuses for good, and a payload that fits no handler,
    is buried at once. The rest is tried again, 5 s, 10 s, 20 s … an hour apart, up to `max_attempts`.
    """
    text = describe(error)
    match error:
        case PayloadError() | Refused() | HostRefused():
            return Bury(error=text)
        case HostBusy():
            # never sooner than the host says
            pause = (error.retry_after or OUR_FAULT_PAUSE) * (1 + 0.4 * chance.random())
            return Snooze(after=pause, reason=text)
        case HostUnreachable() | HostUnconfigured():
            return Snooze(after=_around(OUR_FAULT_PAUSE, chance), reason=text)
        case KeyRefused() | TokenRefused() | SchemaMissing() | BadAnswer():
            return Snooze(after=_around(OUR_FAULT_PAUSE, chance), reason=text)
        case GatewayError() if error.transient:
            return Snooze(after=_around(OUR_FAULT_PAUSE, chance), reason=text)
        case _ if attempt >= max_attempts:
            return Bury(error=text)
        case _:
            return Retry(after=pause_after(attempt, chance), error=text)


def pause_after(attempt: int, chance: random.Random) -> timedelta:
    """How long to wait after `attempt` (from 1) failed: 5 s, 10 s, 20 s … an hour, give or take a fifth."""
    return _around(min(FIRST_RETRY * (1 << min(attempt - 1, 20)), LONGEST_RETRY), chance)


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """`Retry-After` (RFC 9110 §10.2.3) as a delay from `now`: seconds or an HTTP date.

    None when absent or not understood; bounded to 0 … 24 h.
    """
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        # more digits than a day needs would overflow timedelta
        delay = timedelta(seconds=int(text)) if len(text) < 7 else LONGEST_RETRY_AFTER
        return min(delay, LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta()), LONGEST_RETRY_AFTER)


def describe(error: BaseException) -> str:
    """One readable line about `error`, fit for a table that people read."""
    text = str(error).strip()
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_ERROR_CHARS]


@dataclass(slots=True)
class Backoff:
    """Pauses that double from `first` to `longest`, each jittered down to half, until `reset`."""

    first: timedelta
    longest: timedelta
    chance: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next(self) -> timedelta:
        pause = min(self.first * (1 << min(self.failures, 20)), self.longest)
        self.failures += 1
        return pause * (0.5 + self.chance.random() / 2)

    def reset(self) -> None:
        self.failures = 0


def _around(pause: timedelta, chance: random.Random) -> timedelta:
    return pause * (0.8 + 0.4 * chance.random())
