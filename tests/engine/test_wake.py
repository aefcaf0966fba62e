"""The bell, the ear and the pace."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.engine.clock import ManualClock, settle
from worker.engine.wake import LANES, Bell, Ear, Pace, PaceRules

POLL = timedelta(seconds=60)


async def test_many_rings_before_a_wait_are_one(clock: ManualClock) -> None:
    ear = Ear(clock)
    for _ in range(5):
        ear.ring()
    assert await ear.wait(POLL) is True
    waiting = asyncio.create_task(ear.wait(POLL))
    await settle()
    assert not waiting.done()
    await clock.advance(60)
    assert await waiting is False


async def test_a_ring_ends_a_wait_early(clock: ManualClock) -> None:
    ear = Ear(clock)
    waiting = asyncio.create_task(ear.wait(POLL))
    await clock.advance(3)
    ear.ring()
    assert await waiting is True
    assert clock.monotonic() == 3


def test_a_ring_reaches_everyone_attached_and_ring_all_every_lane() -> None:
    bell, first, second = Bell(), list[str](), list[str]()
    bell.attach(first.append)
    bell.attach(second.append)
    bell.ring("jobs")
    bell.ring_all()
    assert first == second == ["jobs", *LANES]


def mood_of(pace: Pace) -> str:
    return pace.mood


def rung(pace: Pace, *, rings: int, over: float, start: float = 0.0) -> float:
    now = start
    for number in range(rings):
        now = start + over * number / max(1, rings - 1)
        pace.rang(now)
    return now


@pytest.mark.parametrize(
    ("rings", "over", "mood"), [(11, 0.9, "awake"), (10, 0.5, "asleep"), (11, 1.5, "asleep")]
)
def test_only_fast_ringing_keeps_it_awake(rings: int, over: float, mood: str) -> None:
    pace = Pace(PaceRules())
    now = rung(pace, rings=rings, over=over)
    pace.looked(now, found=True)
    assert mood_of(pace) == mood
    assert pace.wants_silence(now) is (mood == "awake")


def test_it_lowers_when_nothing_was_found_for_a_while_and_lingers_before_it_sleeps() -> None:
    pace = Pace(PaceRules())
    now = rung(pace, rings=11, over=0.5)
    pace.looked(now, found=True)
    pace.looked(now + 0.99, found=False)
    assert mood_of(pace) == "awake"
    pace.looked(now + 1.0, found=False)
    assert mood_of(pace) == "lingering"
    # a writer that was told to be silent may still commit: it is found without a ring
    rules = PaceRules()
    assert pace.pause() == rules.look_every
    assert pace.pause(rules.look_every / 3) == rules.look_every * 2 / 3, "a look counts as a part of its time"
    assert pace.pause(rules.look_every * 5) == rules.least_pause
    assert not pace.wants_silence(now + 1.5)
    pace.looked(now + 2.99, found=True)
    assert mood_of(pace) == "lingering"
    pace.looked(now + 3.0, found=False)
    assert (mood_of(pace), pace.pause()) == ("asleep", PaceRules().poll)


def test_fast_ringing_while_it_lingers_keeps_it_up_again() -> None:
    pace = Pace(PaceRules())
    now = rung(pace, rings=11, over=0.5)
    pace.looked(now, found=True)
    pace.looked(now + 1.0, found=False)
    now = rung(pace, rings=11, over=0.3, start=now + 1.1)
    pace.looked(now, found=True)
    assert mood_of(pace) == "awake"
    assert pace.wants_silence(now)


def test_silence_is_refreshed_once_a_second() -> None:
    pace = Pace(PaceRules())
    now = rung(pace, rings=11, over=0.5)
    pace.looked(now, found=True)
    pace.silenced(now)
    assert not pace.wants_silence(now + 0.9)
    assert pace.wants_silence(now + 1.0)
