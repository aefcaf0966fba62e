"""What becomes of a picture that met trouble, case by case."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.engine.clock import ManualClock
from worker.errors import HostBusy, HostFailing, HostRefused, HostUnconfigured, HostUnreachable
from worker.images.gate import LONGEST, HostGate
from worker.images.picture import Unfit, WorkshopLost
from worker.images.room import NoRoom
from worker.images.source import SourceAway, SourceRefused
from worker.images.trouble import CRASHES, Fault, trouble_of

SECOND = timedelta(seconds=1)
LOST = WorkshopLost("crash", "it died")

# error, attempt → how it ends, whether the attempt counts
CASES: dict[str, tuple[Fault, int, str | None, bool]] = {
    "refused": (SourceRefused("image.source_refused", "404."), 1, "failed", True),
    "away": (SourceAway("image.source_slow", "Slow."), 19, None, True),
    "away for too long": (SourceAway("image.source_slow", "Slow."), 20, "failed", True),
    "unfit": (Unfit("image.bomb", "A bomb."), 1, "quarantined", True),
    "crash": (LOST, CRASHES - 1, None, True),
    "crashes": (LOST, CRASHES, "quarantined", True),
    "no room": (NoRoom("/tmp: No space left on device"), 500, None, False),
    "host refuses": (HostRefused("image.host_refused", "No."), 1, "failed", True),
    "host fails": (HostFailing("500"), 19, None, True),
    "host fails for too long": (HostFailing("500"), 20, "failed", True),
    "host busy": (HostBusy("429", status=429), 500, None, False),
    "host busy with it": (HostBusy("423", status=423), 19, None, True),
    "host busy with its twin": (HostBusy("409", status=409), 19, None, True),
    "host busy with it for too long": (HostBusy("423", status=423), 20, "failed", True),
    "host away": (HostUnreachable("reset"), 500, None, False),
    "host set up wrongly": (HostUnconfigured("401"), 500, None, False),
}


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    error, attempt, ending, charged = CASES[case]
    before = attempt - 1 if error is LOST else 0
    found = trouble_of(error, attempt=attempt, max_attempts=20, crashes=before)
    assert found.ending == ending
    assert ending is not None or found.charged is charged
    assert set(found.told) == {"code", "detail"} | ({"crashes"} if error is LOST else set())
    assert found.code.startswith("image.")
    assert found.detail.endswith("."), "a sentence"


def test_other_trouble_is_no_crash() -> None:
    """A healthy picture whose source was away, and then its decoder ended from outside, is tried again."""
    assert trouble_of(LOST, attempt=CRASHES + 5, max_attempts=20, crashes=0).ending is None


def test_who_says_when_is_waited_for() -> None:
    away = SourceAway("image.source_unavailable", "503.", 90 * SECOND)
    assert trouble_of(away, attempt=1, max_attempts=20, crashes=0).wait == 90 * SECOND
    busy = HostBusy("420", retry_after=3600 * SECOND)
    assert trouble_of(busy, attempt=1, max_attempts=20, crashes=0).wait == 3600 * SECOND


async def test_whoever_meets_a_shut_gate_holds_a_slot_for_a_while() -> None:
    clock = ManualClock()
    gate = HostGate(clock)
    assert not await gate.passable()
    gate.shut(50 * SECOND)
    asked = asyncio.create_task(gate.passable())
    await clock.advance(19.9)
    assert not asked.done()
    await clock.advance(0.2)
    assert 29 * SECOND < await asked <= 30 * SECOND
    asked = asyncio.create_task(gate.passable())
    await clock.advance(20)
    asked = asyncio.create_task(gate.passable())
    await clock.advance(10)
    assert not await asked


async def test_a_gate_is_shut_longer_each_time_until_somebody_passes() -> None:
    clock = ManualClock()
    gate = HostGate(clock)
    assert not gate.shut_for
    first = gate.shut()
    assert gate.shut() == gate.shut_for == first, "those who were on their way shut it no longer"
    pauses = [first]
    for _ in range(10):
        await clock.advance(gate.shut_for.total_seconds() + 0.001)
        assert not gate.shut_for
        pauses.append(gate.shut())
    assert pauses[0] <= 5 * SECOND
    assert LONGEST / 2 <= pauses[-1] <= LONGEST
    await clock.advance(LONGEST.total_seconds())
    gate.passed()
    assert gate.shut() <= 5 * SECOND


def test_a_host_that_asks_for_more_gets_it() -> None:
    gate = HostGate(ManualClock())
    assert gate.shut(3600 * SECOND) == 3600 * SECOND
    assert gate.shut(60 * SECOND) == 3600 * SECOND
