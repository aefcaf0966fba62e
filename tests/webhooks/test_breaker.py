from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.webhooks.breaker import FAILURES_TO_PARK, Breaker

MOST = 10


def test_failures_in_a_row_park_the_lane_and_a_success_between_does_not() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_PARK - 1):
        assert not breaker.failed(0.0, dice=0.5)
    breaker.succeeded(MOST)
    assert breaker.allowance(MOST) == MOST
    parked = [breaker.failed(100.0, dice=0.5) for _ in range(FAILURES_TO_PARK)]
    assert parked == [False] * (FAILURES_TO_PARK - 1) + [True]
    assert (breaker.allowance(MOST), breaker.not_before) == (1, 133.0)


@given(dice=st.floats(0, 1, exclude_max=True))
def test_probes_of_a_parked_lane_come_no_sooner_than_every_30_seconds(dice: float) -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(FAILURES_TO_PARK):
        breaker.failed(now, dice=dice)
    for _ in range(5):
        assert 30 <= breaker.not_before - now <= 36
        now = breaker.not_before
        assert not breaker.failed(now, dice=dice), "told once"


def test_recovery_is_a_slow_start_and_one_failure_parks_again() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_PARK):
        breaker.failed(0.0, dice=0)
    allowed = []
    for _ in range(9):
        breaker.succeeded(MOST)
        allowed.append(breaker.allowance(MOST))
    assert allowed == [1, 2, 2, 4, 4, 4, 4, 8, 8]
    assert breaker.failed(0.0, dice=0)
    assert breaker.allowance(MOST) == 1
    for _ in range(1 + 1 + 2 + 4 + 8):
        breaker.succeeded(MOST)
    assert breaker.allowance(MOST) == MOST
    assert not breaker.failed(0.0, dice=0), "open again: one failure is one failure"


def test_our_own_faults_pause_longer_each_time_and_never_park() -> None:
    breaker, pauses = Breaker(), []
    for n in range(12):
        now = 1000.0 * n
        breaker.paused_by_us(now, dice=0.999999)
        pauses.append(round(breaker.not_before - now))
    assert pauses == [2, 4, 8, 16, 32, *[60] * 7]
    assert not breaker.parked
    assert breaker.allowance(MOST) == MOST


def test_an_endpoint_cannot_hold_its_lane_for_more_than_an_hour() -> None:
    breaker = Breaker()
    breaker.hold(10.0, 10**9)
    assert breaker.not_before == 3610.0
