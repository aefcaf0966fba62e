"""The rate counter, on a manual clock, held to the real server's recorded runs (63, 63b, 63c)."""

from __future__ import annotations

from tests.stack.realtime.limits import RateCounter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def counter(clock: Clock) -> RateCounter:
    return RateCounter(limit=100, tick_seconds=5, clock=clock)


def seconds_lost(clock: Clock, rate: RateCounter, *, per_second: int, seconds: int) -> list[int]:
    """The seconds of a steady load, from 1, in which messages with one listener each were dropped."""
    lost = []
    for second in range(1, seconds + 1):
        if rate.limited:
            lost.append(second)
        else:
            rate.add(2 * per_second)
        clock.now += 1
    return lost


def test_a_young_counter_at_150_a_second_drops_after_five_seconds() -> None:
    clock = Clock()
    assert seconds_lost(clock, counter(clock), per_second=150, seconds=25)[0] == 6


def test_after_an_idle_minute_90_a_second_pass_for_35_seconds() -> None:
    clock = Clock()
    rate = counter(clock)
    clock.now = 60
    lost = seconds_lost(clock, rate, per_second=90, seconds=40)
    assert lost == [36, 37, 38, 39, 40]


def test_nineteen_seconds_of_90_a_second_lose_nothing() -> None:
    clock = Clock()
    rate = counter(clock)
    clock.now = 60
    assert seconds_lost(clock, rate, per_second=90, seconds=19) == []
    assert seconds_lost(clock, rate, per_second=0, seconds=60) == []


def test_a_big_transaction_silences_the_minute_after_it() -> None:
    clock = Clock()
    rate = counter(clock)
    clock.now = 62.5  # between two judgements
    rate.add(2 * 6_000)
    lost = seconds_lost(clock, rate, per_second=1, seconds=70)
    assert (lost[0], lost[-1]) == (4, 63)
    assert lost == list(range(4, 64))
