"""When a drain is done, when it waits, and when it gives up; the answers of the database are scripted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.engine.clock import START
from worker.drain import until_done
from worker.errors import DrainStuck, KeyRefused, Unavailable, Unreachable

NOTHING = timedelta(0)


def status(
    *,
    at: float = 0,
    outbox: int = 0,
    outbox_age: float | None = None,
    pending: int = 0,
    pending_age: float | None = None,
    ready: int = 0,
    running: int = 0,
    retry_at: float | None = None,
) -> dict[str, Any]:
    """A status `at` seconds after the start; `retry_at` likewise."""
    return {
        "schema_version": 1,
        "now": _time(at),
        "outbox": {"depth": outbox, "oldest_seconds": outbox_age},
        "deliveries": {"pending": pending, "held": 0, "oldest_seconds": pending_age},
        "retries": {"waiting": int(retry_at is not None), "next_due_at": retry_at and _time(retry_at)},
        "jobs": {"ready": ready, "running": running, "buried": 1},
        "lanes": {"total": 0, "leased": 0},
        "workers": [],
        "partitions_ahead_days": 7,
        "secrets": "vault",
        "oldest_xmin_seconds": None,
    }


def _time(at: float) -> datetime:
    return START + timedelta(seconds=at)


class Script:
    """Answers in turn; the last one for ever."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers: Iterator[dict[str, Any] | Exception] = iter(answers)
        self._last: dict[str, Any] | Exception = answers[-1]
        self.asked = 0

    async def call(self, name: str, /, **_params: Any) -> Any:
        assert name == "worker_status"
        self.asked += 1
        answer = next(self._answers, self._last)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def drain(
    script: Script, *, wait: timedelta = NOTHING, stuck_after: timedelta = timedelta(seconds=90)
) -> None:
    await until_done(script, wait=wait, look_every=NOTHING, stuck_after=stuck_after)


async def test_two_looks_must_agree_because_work_moves_from_place_to_place() -> None:
    script = Script(status(outbox=3), status(), status(pending=3), status(running=1), status(), status())
    await drain(script)
    assert script.asked == 6


async def test_a_retry_that_is_due_now_is_waited_for_and_a_later_one_is_not() -> None:
    due = Script(status(retry_at=0), status(at=1), status(at=2))
    await drain(due)
    assert due.asked == 3
    later = Script(status(retry_at=60))
    await drain(later)
    assert later.asked == 2


async def test_a_retry_within_the_wait_is_waited_for_without_giving_up() -> None:
    ahead = [status(at=at, retry_at=280) for at in (0, 100, 200, 279)]
    script = Script(*ahead, status(at=281), status(at=282))
    await drain(script, wait=timedelta(seconds=300))
    assert script.asked == 6


async def test_what_nobody_can_do_ends_it_with_what_is_left() -> None:
    script = Script(*(status(at=at, pending=2, retry_at=-5) for at in (0, 50, 100)))
    with pytest.raises(DrainStuck, match="left: 2 pending deliveries, 1 retries due"):
        await drain(script)


async def test_growing_old_is_not_moving() -> None:
    script = Script(*(status(at=at, outbox=2, outbox_age=7.25 + at) for at in (0, 50, 100)))
    with pytest.raises(DrainStuck, match="left: 2 changes in the outbox"):
        await drain(script)


async def test_a_depth_that_is_cut_may_stand_still_while_its_oldest_go() -> None:
    moving = [status(at=60 * n, pending=10_000, pending_age=500 + 30 * n) for n in range(4)]
    script = Script(*moving, status(at=200), status(at=201))
    await drain(script)
    assert script.asked == 6


async def test_what_a_person_must_mend_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.drain.OUTAGE_PAUSE", NOTHING)
    with pytest.raises(KeyRefused):
        await drain(Script(Unreachable("starting"), KeyRefused("Invalid API key")))


async def test_as_long_as_something_moves_it_goes_on() -> None:
    moving = [status(at=60 * n, pending=10 - n) for n in range(10)]
    script = Script(*moving, status(at=700), status(at=701))
    await drain(script)
    assert script.asked == 12


async def test_an_outage_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.drain.OUTAGE_PAUSE", NOTHING)
    script = Script(Unreachable("away"), Unreachable("away"), status(), status())
    await drain(script)
    assert script.asked == 4


@pytest.mark.timeout(10)
async def test_an_outage_that_does_not_end_ends_it_with_the_last_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.drain.OUTAGE_PAUSE", NOTHING)
    script = Script(status(outbox=1), Unavailable("starting"), Unreachable("connection refused"))
    with pytest.raises(DrainStuck, match="did not answer for 0 s: Unreachable: connection refused"):
        await drain(script, stuck_after=timedelta(milliseconds=50))
