from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.retry import parse_retry_after
from worker.webhooks.answer import Answer, Trouble
from worker.webhooks.schedule import DELAYS, MAX_ATTEMPTS, next_delay
from worker.webhooks.verdict import Keep, Settle, judge, lane_hold, overloaded

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LONG = timedelta(hours=72)
dice = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_the_schedule_without_jitter() -> None:
    delays = [next_delay(attempt, dice=0.5) for attempt in range(1, 11)]
    hours = timedelta(hours=1)
    assert delays == [
        *(timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)),
        *(2 * hours, 5 * hours, 10 * hours, 14 * hours, 20 * hours, 24 * hours, None),
    ]


@given(attempt=st.integers(1, MAX_ATTEMPTS - 1), dice=dice)
def test_jitter_stays_within_a_fifth(attempt: int, dice: float) -> None:
    delay = next_delay(attempt, dice=dice)
    assert delay is not None
    assert 0.8 * DELAYS[attempt - 1] <= delay <= 1.2 * DELAYS[attempt - 1]


@given(attempt=st.integers(1, MAX_ATTEMPTS - 1), dice=dice, seconds=st.integers(0, 10**6))
def test_retry_after_is_never_undercut_and_never_holds_for_long(
    attempt: int, dice: float, seconds: int
) -> None:
    delay = next_delay(attempt, dice=dice, retry_after=timedelta(seconds=seconds))
    assert delay is not None
    assert delay >= min(timedelta(seconds=seconds), DAY)
    assert delay <= 1.2 * DAY


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        next_delay(0, dice=0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("120", timedelta(seconds=120)),
        (" 7 ", timedelta(seconds=7)),
        ("0", timedelta()),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, DAY),
        ("٣", None),
        ("soon", None),
        ("Mon, 99 Foo 2026", None),
        (format_datetime(NOW + timedelta(minutes=3), usegmt=True), timedelta(minutes=3)),
        ("Mon, 23 Nov 2026 12:01:00 -0000", timedelta(minutes=1)),
        (format_datetime(NOW - DAY, usegmt=True), timedelta()),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
    ],
)
def test_retry_after(value: str | None, expected: timedelta | None) -> None:
    assert parse_retry_after(value, now=NOW) == expected


def answered(status: int, *, retry_after: timedelta | None = None) -> Answer:
    return Answer(0.0, status=status, head="", retry_after=retry_after)


def troubled(trouble: Trouble) -> Answer:
    return Answer(0.0, trouble=trouble, detail="…")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("probe", [False, True])
def test_every_2xx_is_a_confirmation(status: int, probe: bool) -> None:
    verdict = judge(answered(status), attempt=3, left=LONG, probe=probe, dice=0.5)
    assert verdict == Settle("delivered")


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503])
def test_everything_else_is_tried_again_until_the_last_attempt(status: int) -> None:
    first = judge(answered(status), attempt=1, left=LONG, probe=False, dice=0.5)
    assert isinstance(first, Settle)
    assert (first.outcome, first.retry_in) == ("retry", timedelta(seconds=5))
    assert str(status) in (first.error or "")
    last = judge(answered(status), attempt=MAX_ATTEMPTS, left=LONG, probe=False, dice=0.5)
    assert isinstance(last, Settle)
    assert (last.outcome, last.retry_in) == ("failed", None)


@pytest.mark.parametrize("probe", [False, True])
def test_410_is_the_end_of_the_endpoint(probe: bool) -> None:
    verdict = judge(answered(410), attempt=1, left=LONG, probe=probe, dice=0.5)
    assert isinstance(verdict, Settle)
    assert verdict.outcome == "gone"


@pytest.mark.parametrize("trouble", ["timeout", "connect", "tls", "protocol", "blocked", "no_such_host"])
def test_troubles_of_the_endpoint_are_charged(trouble: Trouble) -> None:
    verdict = judge(troubled(trouble), attempt=1, left=LONG, probe=False, dice=0.5)
    assert isinstance(verdict, Settle)
    assert verdict.outcome == "retry"


@pytest.mark.parametrize("trouble", ["resolver", "proxy", "local"])
@pytest.mark.parametrize("attempt", [1, MAX_ATTEMPTS])
@pytest.mark.parametrize("probe", [False, True])
def test_our_own_troubles_are_never_charged(trouble: Trouble, attempt: int, probe: bool) -> None:
    assert judge(troubled(trouble), attempt=attempt, left=LONG, probe=probe, dice=0.5) == Keep()


@pytest.mark.parametrize("attempt", [1, MAX_ATTEMPTS])
def test_a_failed_probe_is_noted_and_not_charged(attempt: int) -> None:
    assert judge(answered(500), attempt=attempt, left=LONG, probe=True, dice=0.5) == Keep("status: 500")


def test_there_is_no_retry_that_would_come_after_the_expiry() -> None:
    five = timedelta(seconds=5)
    last = judge(answered(500), attempt=1, left=five, probe=False, dice=0.5)
    assert isinstance(last, Settle)
    assert (last.outcome, last.retry_in) == ("failed", None)
    again = judge(answered(500), attempt=1, left=five + timedelta(milliseconds=1), probe=False, dice=0.5)
    assert isinstance(again, Settle)
    assert again.outcome == "retry"


def test_429_5xx_and_time_outs_are_signs_of_overload_and_nothing_else_is() -> None:
    assert [s for s in range(200, 600, 1) if overloaded(answered(s))] == [429, *range(500, 600)]
    assert overloaded(troubled("timeout"))
    assert not overloaded(troubled("connect"))


def test_only_429_and_503_hold_the_whole_lane() -> None:
    minute = timedelta(minutes=1)
    held = [s for s in range(200, 600) if lane_hold(answered(s, retry_after=minute)) is not None]
    assert held == [429, 503]
