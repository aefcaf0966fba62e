"""Errors become outcomes here and nowhere else. Pure: no clock, no I/O, chance is handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from worker.engine.job import Bury, Outcome, Retry, Snooze
from worker.errors import (
    BadAnswer,
    GatewayError,
    KeyRefused,
    PayloadError,
    Refused,
    SchemaMissing,
    TokenRefused,
)

FIRST_RETRY: Final = timedelta(seconds=5)
LONGEST_RETRY: Final = timedelta(hours=1)
OUR_FAULT_PAUSE: Final = timedelta(seconds=10)
MAX_ERROR_CHARS: Final = 2_000


def outcome_of(error: Exception, *, attempt: int, max_attempts: int, chance: random.Random) -> Outcome:
    """What becomes of a job whose handler raised `error` on its `attempt` (from 1).

    Our own faults (Supabase away, a wrong key, a missing migration) charge nothing. What the database
    refuses for good, and a payload that fits no handler, is buried at once. The rest is tried again,
    5 s, 10 s, 20 s … an hour apart, up to `max_attempts`.
    """
    text = describe(error)
    match error:
        case PayloadError() | Refused():
            return Bury(error=text)
        case KeyRefused() | TokenRefused() | SchemaMissing() | BadAnswer():
            return Snooze(after=_around(OUR_FAULT_PAUSE, chance), reason=text)
        case GatewayError() if error.transient:
            return Snooze(after=_around(OUR_FAULT_PAUSE, chance), reason=text)
        case _ if attempt >= max_attempts:
            return Bury(error=text)
        case _:
            pause = min(FIRST_RETRY * (1 << min(attempt - 1, 20)), LONGEST_RETRY)
            return Retry(after=_around(pause, chance), error=text)


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
