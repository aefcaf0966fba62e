"""A job and what may become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NewType, TypeVar

JobId = NewType("JobId", int)
AttemptId = NewType("AttemptId", str)
RawPayload = Mapping[str, Any]
P = TypeVar("P", covariant=True)
Q = TypeVar("Q")


@dataclass(frozen=True, slots=True)
class Job(Generic[P]):
    """One claimed attempt of a job. `payload` is raw JSON in the queue, the handler's model in its hands."""

    job_id: JobId
    attempt_id: AttemptId
    kind: str
    tenant_id: str | None
    payload: P
    attempt: int
    """This attempt's number, from 1."""
    max_attempts: int
    created_at: datetime

    def with_payload(self, payload: Q) -> Job[Q]:
        """The same attempt with another view of its payload."""
        return Job(
            job_id=self.job_id,
            attempt_id=self.attempt_id,
            kind=self.kind,
            tenant_id=self.tenant_id,
            payload=payload,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            created_at=self.created_at,
        )


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued. With a `unique_key` that is waiting already, the waiting one stands for both."""

    kind: str
    payload: RawPayload
    unique_key: str | None = None
    serial_key: str | None = None
    tenant_id: str | None = None
    due_in: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Done:
    """It is done."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed: try again after `after`. Charges the attempt."""

    after: timedelta
    error: str


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now, and not the job's fault: look again after `after`. Charges nothing."""

    after: timedelta
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Bury:
    """It will never work as it is: keep it for a person."""

    error: str


Outcome = Done | Retry | Snooze | Bury


@dataclass(frozen=True, slots=True)
class Release:
    """Handed back undone at a stop. Charges nothing. Not for handlers: the engine's own outcome."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is written back: fenced by the attempt's id, so a late one changes nothing."""

    job_id: JobId
    attempt_id: AttemptId
    outcome: Outcome | Release
