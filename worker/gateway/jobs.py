"""The queue of jobs, by RPC: `claim_jobs`, `extend_jobs`, `settle_jobs`, `enqueue_job`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, assert_never

from pydantic import AwareDatetime, BaseModel

from worker.engine.job import (
    AttemptId,
    Bury,
    Done,
    Job,
    JobId,
    NewJob,
    Outcome,
    RawPayload,
    Release,
    Result,
    Retry,
    Snooze,
)
from worker.engine.ports import Claim, Rpc, Settlement
from worker.engine.retry import MAX_ERROR_CHARS
from worker.gateway.answers import parse


class _JobRow(BaseModel):
    job_id: int
    attempt_id: str
    kind: str
    tenant_id: str | None
    payload: dict[str, Any]
    attempt: int
    max_attempts: int
    created_at: AwareDatetime


class _ClaimAnswer(BaseModel):
    jobs: list[_JobRow]
    next_due_at: AwareDatetime | None


class _SettleAnswer(BaseModel):
    settled: int
    lost: list[str]


class _ExtendAnswer(BaseModel):
    held: list[str]


class _EnqueueAnswer(BaseModel):
    job_id: int
    created: bool


class RpcJobQueue:
    """`JobQueue` over the database's functions."""

    def __init__(self, rpc: Rpc, *, worker: str) -> None:
        self._rpc, self._worker = rpc, worker

    async def claim(self, kinds: Collection[str], *, limit: int, lease: timedelta) -> Claim:
        answer = parse(
            _ClaimAnswer,
            await self._rpc.call(
                "claim_jobs",
                p_worker=self._worker,
                p_kinds=sorted(kinds),
                p_limit=limit,
                p_lease_seconds=_whole_seconds(lease),
            ),
        )
        return Claim(jobs=[_job(row) for row in answer.jobs], next_due_at=answer.next_due_at)

    async def extend(self, attempts: Collection[AttemptId], *, lease: timedelta) -> frozenset[AttemptId]:
        answer = parse(
            _ExtendAnswer,
            await self._rpc.call(
                "extend_jobs", p_attempt_ids=sorted(attempts), p_lease_seconds=_whole_seconds(lease)
            ),
        )
        return frozenset(AttemptId(held) for held in answer.held)

    async def settle(self, results: Sequence[Result]) -> Settlement:
        rows = [_row(result) for result in results]
        answer = parse(_SettleAnswer, await self._rpc.call("settle_jobs", p_results=rows))
        return Settlement(settled=answer.settled, lost=frozenset(AttemptId(a) for a in answer.lost))

    async def enqueue(self, job: NewJob) -> bool:
        answer = await self._rpc.call(
            "enqueue_job",
            p_kind=job.kind,
            p_payload=dict(job.payload),
            p_tenant_id=job.tenant_id,
            p_unique_key=job.unique_key,
            p_serial_key=job.serial_key,
            p_due_in_seconds=job.due_in.total_seconds(),
        )
        return parse(_EnqueueAnswer, answer).created


def _job(row: _JobRow) -> Job[RawPayload]:
    return Job(
        job_id=JobId(row.job_id),
        attempt_id=AttemptId(row.attempt_id),
        kind=row.kind,
        tenant_id=row.tenant_id,
        payload=row.payload,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        created_at=row.created_at,
    )


def _row(result: Result) -> dict[str, Any]:
    name, after, error = _outcome(result.outcome)
    return {
        "job_id": result.job_id,
        "attempt_id": result.attempt_id,
        "outcome": name,
        "in_seconds": after.total_seconds() if after else None,
        "error": _text(error),
    }


def _outcome(outcome: Outcome | Release) -> tuple[str, timedelta | None, str | None]:
    match outcome:
        case Done():
            return "done", None, None
        case Retry(after=after, error=error):
            return "retry", after, error
        case Snooze(after=after, reason=reason):
            return "snooze", after, reason
        case Bury(error=error):
            return "bury", None, error
        case Release():
            return "release", None, None
        case _:
            assert_never(outcome)


def _text(error: str | None) -> str | None:
    # jsonb holds no NUL, and one must not make the whole batch unwritable
    return None if error is None else error.replace("\x00", "�")[:MAX_ERROR_CHARS]


def _whole_seconds(lease: timedelta) -> int:
    return max(1, round(lease.total_seconds()))
