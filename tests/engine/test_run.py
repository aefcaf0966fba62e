"""One job, one outcome; and errors as outcomes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from tests.engine.clock import START
from tests.engine.handlers import Note, Recorder
from worker.engine.job import AttemptId, Bury, Done, Job, JobId, Outcome, RawPayload, Retry, Snooze
from worker.engine.retry import Backoff, outcome_of
from worker.engine.run import Executor
from worker.errors import (
    BadAnswer,
    Busy,
    HostBusy,
    HostFailing,
    HostRefused,
    HostUnconfigured,
    HostUnreachable,
    KeyRefused,
    PayloadError,
    Refused,
    SchemaMissing,
    Unavailable,
)

CHANCE = random.Random(1)


def job(kind: str = "test.note", attempt: int = 1) -> Job[RawPayload]:
    return Job(JobId(1), AttemptId("a"), kind, None, {}, attempt, 10, START)


@dataclass(frozen=True)
class Sleeper:
    """Never ends by itself."""

    kind: str = "test.sleep"
    Payload: ClassVar[type[Note]] = Note

    async def __call__(self, _job: Job[Any]) -> Outcome:
        await asyncio.Event().wait()
        return Done()


@dataclass(frozen=True)
class OwnTimeout:
    """Raises a time-out of its own, long before its limit."""

    kind: str = "test.timeout"
    Payload: ClassVar[type[Note]] = Note

    async def __call__(self, _job: Job[Any]) -> Outcome:
        raise TimeoutError("the supplier did not answer")


@dataclass(frozen=True)
class Cut:
    """Waits for something that somebody else cancels."""

    kind: str = "test.cut"
    Payload: ClassVar[type[Note]] = Note

    async def __call__(self, _job: Job[Any]) -> Outcome:
        other: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        other.cancel()
        return await other


async def test_a_cancellation_that_nobody_meant_for_the_job_is_a_failure() -> None:
    outcome = await Executor([Cut()], chance=CHANCE).execute(job("test.cut"))
    assert isinstance(outcome, Retry)
    assert "Interrupted: test.cut" in outcome.error


async def test_a_handler_that_takes_too_long_is_stopped_and_tried_again() -> None:
    executor = Executor([Sleeper()], time_limit=timedelta(milliseconds=10), chance=CHANCE)
    outcome = await executor.execute(job("test.sleep"))
    assert isinstance(outcome, Retry)
    assert "TimeLimitExceeded" in outcome.error


async def test_a_handlers_own_time_out_is_told_as_its_own() -> None:
    outcome = await Executor([OwnTimeout()], chance=CHANCE).execute(job("test.timeout"))
    assert isinstance(outcome, Retry)
    assert "the supplier did not answer" in outcome.error


async def test_a_kind_without_a_handler_is_buried() -> None:
    outcome = await Executor([Recorder()], chance=CHANCE).execute(job("test.unknown"))
    assert isinstance(outcome, Bury)


def test_two_handlers_of_a_kind_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"two handlers for kind 'test\.note'"):
        Executor([Recorder(), Recorder()])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PayloadError("x"), Bury),
        (Refused("stock.insufficient", code="PT409"), Bury),
        (Busy("x"), Snooze),
        (Unavailable("x"), Snooze),
        (KeyRefused("x"), Snooze),
        (SchemaMissing("x"), Snooze),
        (BadAnswer("x"), Snooze),
        (HostBusy("x"), Snooze),
        (HostUnreachable("x"), Snooze),
        (HostUnconfigured("x"), Snooze),
        (HostFailing("x"), Retry),
        (HostRefused("image.host_refused", "x"), Bury),
        (RuntimeError("x"), Retry),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_each_error_has_its_outcome(error: Exception, kind: type[Outcome]) -> None:
    assert isinstance(outcome_of(error, attempt=1, max_attempts=10, chance=CHANCE), kind)


def test_a_host_is_not_asked_before_the_time_it_named() -> None:
    for _ in range(50):
        error = HostBusy("x", retry_after=timedelta(minutes=7))
        outcome = outcome_of(error, attempt=1, max_attempts=10, chance=CHANCE)
        assert isinstance(outcome, Snooze)
        assert timedelta(minutes=7) <= outcome.after < timedelta(minutes=10)


def test_retries_grow_apart_up_to_an_hour_and_end() -> None:
    pauses = []
    for attempt in range(1, 15):
        outcome = outcome_of(RuntimeError("x"), attempt=attempt, max_attempts=15, chance=CHANCE)
        assert isinstance(outcome, Retry)
        pauses.append(outcome.after.total_seconds())
    assert 4 <= pauses[0] <= 6
    assert 32 <= pauses[3] <= 48
    assert max(pauses) <= 3_600 * 1.2
    assert isinstance(outcome_of(RuntimeError("x"), attempt=15, max_attempts=15, chance=CHANCE), Bury)


def test_a_backoff_doubles_to_its_longest_is_jittered_and_resets() -> None:
    backoff = Backoff(first=timedelta(seconds=1), longest=timedelta(seconds=8), chance=random.Random(3))
    pauses = [backoff.next().total_seconds() for _ in range(8)]
    for pause, full in zip(pauses, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
        assert full / 2 <= pause <= full
    assert len(set(pauses[3:])) > 1
    backoff.reset()
    assert backoff.next().total_seconds() <= 1
