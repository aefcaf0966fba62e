"""How fast and how much at once: the rate limit and the window of one lane."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from worker.webhooks.rate import SLACK_SECONDS, Rate
from worker.webhooks.window import Window


@pytest.mark.parametrize("per_second", [1, 7, 50, 1000])
@pytest.mark.parametrize("late", [0.0, 0.02])
def test_a_rate_is_reached_and_never_passed_by_more_than_its_slack(per_second: int, late: float) -> None:
    rate, now, starts = Rate(per_second), 0.0, list[float]()
    while now < 20:
        while now >= rate.not_before:
            rate.take(now)
            starts.append(now)
        # a timer that is `late` wakes us
        now = max(now + 1e-6, rate.not_before + late)
    assert len(starts) >= 0.95 * 20 * per_second
    for first, start in enumerate(starts):
        within = bisect_left(starts, start + 1) - first
        assert within <= per_second * (1 + SLACK_SECONDS) + 1


def test_a_naive_bucket_of_a_second_passes_its_rate_by_a_hundred_percent() -> None:
    """What `Rate` is held against: full after a pause, it lets a whole second's worth through at once."""
    per_second, tokens, last, starts = 100, 100.0, 0.0, list[float]()
    for step in range(20_000):
        now = step / 10_000
        tokens, last = min(100.0, tokens + (now - last) * per_second), now
        if tokens >= 1:
            tokens -= 1
            starts.append(now)
    assert sum(start < 1 for start in starts) > per_second * 1.9


def test_time_without_requests_saves_nothing_up() -> None:
    rate = Rate(100)
    rate.take(0.0)
    at_once = 0
    while rate.not_before <= 1000.0:
        rate.take(1000.0)
        at_once += 1
    assert at_once <= 100 * SLACK_SECONDS + 1


def test_no_limit_never_waits() -> None:
    rate = Rate(None)
    for _ in range(1000):
        rate.take(5.0)
    assert rate.not_before < 5.0


def test_a_window_doubles_until_it_meets_overload_and_then_grows_by_one() -> None:
    window = Window()
    sizes = []
    for _ in range(4):
        size = window.allowance(100)
        sizes.append(size)
        for _ in range(size):
            window.succeeded(100)
    assert sizes == [4, 8, 16, 32]
    window.overloaded(10.0, started=9.0)
    assert window.allowance(100) == 32
    for _ in range(32):
        window.succeeded(100)
    assert window.allowance(100) in (32, 33)


def test_what_was_under_way_together_halves_the_window_once() -> None:
    window = Window(64.0)
    for answered in range(20):
        window.overloaded(10.0 + answered / 100, started=9.0)
    assert window.allowance(100) == 32
    window.overloaded(11.0, started=10.5)
    assert window.allowance(100) == 16, "but the next ones count"


def test_a_window_never_closes_and_never_passes_the_endpoints_own_limit() -> None:
    window = Window(1.0)
    window.overloaded(1.0, started=0.5)
    assert window.allowance(10) == 1
    for _ in range(1000):
        window.succeeded(5)
    assert window.allowance(5) == 5
    window.shrunk_to(2)
    assert window.allowance(100) == 2
