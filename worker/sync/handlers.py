"""The jobs of sync: what clients pushed is worked off, and conflicts that wait make themselves heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.clock import Clock
from worker.engine.job import AttemptId, Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.errors import PayloadError
from worker.gateway.changes import Batch
from worker.gateway.changes import Outcome as Applied
from worker.log import get_logger
from worker.sync.merging import Write, policies_of, write_of

WORKED: Final = "sync.worked"
AT_ONCE: Final = timedelta(0)
TURN: Final = timedelta(seconds=10)
"""After so long other tenants get their turn."""
BATCH: Final = 200


class Changes(Protocol):
    """The slice's outside door. Raises `GatewayError`."""

    async def read(self, tenant_id: str, *, after: str | None, limit: int) -> Batch: ...
    async def apply(
        self, principal_id: str, attempt_id: AttemptId, writes: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Applied]: ...


class Conflicts(Protocol):
    """Another outside door. Raises `GatewayError`."""

    async def notify(self, *, older_than: timedelta) -> int: ...


class NoPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NotifyPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    older_than_minutes: int = Field(60, ge=1, le=100_000)


@dataclass(frozen=True, slots=True)
class WorkChanges:
    """Merges and writes what a tenant's clients pushed, each entity's changes in their order. Harmless twice:
    what is written is settled in the same transaction, and pending no more."""

    changes: Changes
    clock: Clock
    kind: ClassVar[str] = "sync.work"
    Payload: ClassVar[type[NoPayload]] = NoPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        if job.tenant_id is None:
            raise PayloadError("a job that works off changes names its tenant")
        ends = self.clock.monotonic() + TURN.total_seconds()
        after: str | None = None
        while self.clock.monotonic() < ends:
            batch = await self.changes.read(job.tenant_id, after=after, limit=BATCH)
            if not batch.changes and after is None:
                return Done()
            await self._work(job, batch)
            # the next round takes what waited behind these, and what was changed while it was merged
            after = batch.changes[-1].entity_id if len(batch.changes) == BATCH else None
        return Snooze(AT_ONCE, "more changes are pending")

    async def _work(self, job: Job[Any], batch: Batch) -> None:
        policies = {entity: policies_of(told) for entity, told in batch.policies.items()}
        ordered = sorted(batch.changes, key=lambda change: change.principal_id)
        for principal_id, some in groupby(ordered, key=lambda change: change.principal_id):
            writes: list[Write] = [write_of(each, policies[each.entity], batch.now) for each in some]
            outcomes = await self.changes.apply(principal_id, job.attempt_id, writes)
            counted = list(outcomes.values())
            get_logger("worker.sync").info(
                WORKED, **{outcome: counted.count(outcome) for outcome in sorted(set(counted))}
            )


@dataclass(frozen=True, slots=True)
class NotifyConflicts:
    """Tells tenants of edits that have waited for their decision for long. Harmless twice: a day has one
    notice."""

    conflicts: Conflicts
    kind: ClassVar[str] = "sync.notify_conflicts"
    Payload: ClassVar[type[NotifyPayload]] = NotifyPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: NotifyPayload = job.payload
        await self.conflicts.notify(older_than=timedelta(minutes=payload.older_than_minutes))
        return Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(NotifyConflicts.kind, {}, unique_key=NotifyConflicts.kind), every=timedelta(minutes=5)),
)
