"""When a failed delivery is tried again. Pure: the clock and the dice are handed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

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
LONGEST_RETRY_AFTER = timedelta(hours=24)


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
