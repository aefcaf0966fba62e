"""When a failed delivery is tried again. Pure: the clock and the dice are handed in."""

from __future__ import annotations

from datetime import timedelta

from worker.engine.retry import LONGEST_RETRY_AFTER

# Standard Webhooks' recommended schedule: ten attempts over a little more than three days.
DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MAX_ATTEMPTS = len(DELAYS) + 1
JITTER = 0.2


def next_delay(attempt: int, *, dice: float, retry_after: timedelta | None = None) -> timedelta | None:
    """How long to wait after attempt number `attempt` (from 1) failed; None when it was the last.

    `dice` in [0, 1) spreads the delay by ±20 %, so that messages that failed together do not return together.
    `retry_after` can only lengthen the delay, by up to a fifth more, up to a day: to come early
    is to disobey, and an endpoint must not be able to hold our queue for ever.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    if attempt >= MAX_ATTEMPTS:
        return None
    delay = DELAYS[attempt - 1] * (1 - JITTER + 2 * JITTER * dice)
    if retry_after is None:
        return delay
    return max(delay, min(retry_after, LONGEST_RETRY_AFTER) * (1 + JITTER * dice))
