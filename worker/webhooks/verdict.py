"""What an answer means for its delivery and its lane. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from worker.gateway.lanes import Outcome
from worker.webhooks.answer import Answer
from worker.webhooks.schedule import next_delay

# the only answers that speak for the whole endpoint, not for this message alone
_HOLDS_THE_LANE: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Settle:
    """Write it back. `error` is None for a delivery that was taken."""

    outcome: Outcome
    error: str | None = None
    retry_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Charge nothing and keep the delivery where it was. `error`: the endpoint failed while it was parked;
    None: the fault is our own."""

    error: str | None = None


_DELIVERED: Final = Settle("delivered")


def judge(answer: Answer, *, attempt: int, left: timedelta, probe: bool, dice: float) -> Settle | Keep:
    """What becomes of a delivery on its `attempt` (from 1), `left` before it expires.

    Our own faults are not charged. Nor is a failed `probe` of a parked lane, for the queue of an endpoint
    that is down must not burn its attempts. There is no retry that would come too late.
    """
    if answer.taken:
        return _DELIVERED
    if answer.ours:
        return Keep()
    error = describe(answer)
    if answer.status == HTTPStatus.GONE:
        return Settle("gone", error)
    if probe:
        return Keep(error)
    delay = next_delay(attempt, dice=dice, retry_after=answer.retry_after)
    if delay is None or delay >= left:
        return Settle("failed", error)
    return Settle("retry", error, delay)


def overloaded(answer: Answer) -> bool:
    """Whether the endpoint shows that it gets too much at once."""
    if answer.status is None:
        return answer.trouble == "timeout"
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500


def lane_hold(answer: Answer) -> timedelta | None:
    """How long the endpoint asked us to stay away altogether."""
    return answer.retry_after if answer.status in _HOLDS_THE_LANE else None


def describe(answer: Answer) -> str:
    """The failure in a line, as the tenant sees it in the attempts."""
    if answer.status is None:
        return f"{answer.trouble}: {answer.detail}"
    if 300 <= answer.status < 400:
        return f"redirect: {answer.status} is not followed; set the endpoint to its final URL"
    return f"status: {answer.status}"
