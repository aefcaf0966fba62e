"""The jobs of sync: what clients pushed is worked off, and conflicts that wait make themselves heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.clock import Clock
from worker.engine.job import AttemptId, Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.errors import BadAnswer, Busy, PayloadError, Refused
from worker.gateway.changes import Batch, Forgotten
from worker.gateway.changes import Outcome as Applied
from worker.log import get_logger
from worker.sync.merging import Write, policies_of, write_of
from worker.sync.meter import SettleMeter

WORKED: Final = "sync.worked"
ATTEMPT_LOST: Final = "sync.attempt_lost"
BUSY: Final = "busy"
SETTLED: Final = ("written", "rejected")
BUSY_PAUSE: Final = timedelta(seconds=5)
AT_ONCE: Final = timedelta(0)
TURN: Final = timedelta(seconds=10)
"""After so long other tenants get their turn."""
BATCH: Final = 200


class Changes(Protocol):
    """The slice's outside door. Raises `GatewayError`."""

    async def read(self, tenant_id: str, *, after: int, limit: int) -> Batch: ...
    async def apply(
        self, principal_id: str, attempt_id: AttemptId, writes: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Applied]: ...


class Upkeep(Protocol):
    """Another outside door. Raises `GatewayError`."""

    async def notify(self, *, older_than: timedelta) -> int: ...
    async def forget(self, *, keep: timedelta) -> Forgotten: ...


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
    meter: SettleMeter = field(default_factory=SettleMeter)
    kind: ClassVar[str] = "sync.work"
    Payload: ClassVar[type[NoPayload]] = NoPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        if job.tenant_id is None:
            raise PayloadError("a job that works off changes names its tenant")
        try:
            return await self._rounds(job, job.tenant_id)
        except Refused as error:
            if error.message != ATTEMPT_LOST:
                raise
            # whoever has the lease now does the work; if nobody has, this job is to be claimed again
            return Snooze(AT_ONCE, str(error))

    async def _rounds(self, job: Job[Any], tenant_id: str) -> Outcome:
        ends = self.clock.monotonic() + TURN.total_seconds()
        after, limit = 0, BATCH
        moved = False
        while self.clock.monotonic() < ends:
            try:
                batch = await self.changes.read(tenant_id, after=after, limit=limit)
            except (Busy, BadAnswer):
                if limit == 1:
                    raise
                limit //= 2  # too much at once
                continue
            if not batch.changes and not batch.more and after == 0:
                return Done()
            moved = await self._work(job, batch) or moved
            if batch.more and batch.after is not None:
                after = batch.after
                continue
            if not moved:
                return Snooze(BUSY_PAUSE, "what is left meets locks or time limits")
            # the next round takes what waited behind these, and what was changed while it was merged
            after, moved = 0, False
        return Snooze(AT_ONCE, "more changes are pending")

    async def _work(self, job: Job[Any], batch: Batch) -> bool:
        """Whether any of it could be tried."""
        began = self.clock.monotonic()
        policies = {entity: policies_of(told) for entity, told in batch.policies.items()}
        counted = Counter[str]()
        # in the order of pushing, for one may need what another made
        for principal_id, some in groupby(batch.changes, key=lambda change: change.principal_id):
            changes = list(some)
            writes = [write_of(each, policies[each.entity], batch.now) for each in changes]
            outcomes = await self._apply(principal_id, job.attempt_id, writes)
            counted.update(outcomes.values())
            # by the database's clock, as far as this one tells what has passed since it was read
            now = batch.now + timedelta(seconds=self.clock.monotonic() - began)
            for each in changes:
                if outcomes.get(each.id) in SETTLED:
                    self.meter.settled(now - each.pushed_at)
        if counted:
            get_logger("worker.sync").info(WORKED, **counted)
        return counted.total() > counted[BUSY]

    async def _apply(self, principal_id: str, attempt_id: AttemptId, writes: list[Write]) -> dict[str, str]:
        """What became of each, by its change. One that takes too long, or meets a lock, must not hold up the
        others."""
        try:
            return dict(await self.changes.apply(principal_id, attempt_id, writes))
        except Busy:
            if len(writes) == 1:
                return {writes[0]["change_id"]: BUSY}
            middle = len(writes) // 2
            first = await self._apply(principal_id, attempt_id, writes[:middle])
            return first | await self._apply(principal_id, attempt_id, writes[middle:])


@dataclass(frozen=True, slots=True)
class NotifyConflicts:
    """Tells tenants of edits that have waited for their decision for long. Harmless twice: a day has one
    notice."""

    upkeep: Upkeep
    kind: ClassVar[str] = "sync.notify_conflicts"
    Payload: ClassVar[type[NotifyPayload]] = NotifyPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: NotifyPayload = job.payload
        await self.upkeep.notify(older_than=timedelta(minutes=payload.older_than_minutes))
        return Done()


class ForgetPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int = Field(30, ge=1, le=3650)


@dataclass(frozen=True, slots=True)
class ForgetChanges:
    """Forgets changes that were settled long ago. Harmless twice: the second finds none."""

    upkeep: Upkeep
    kind: ClassVar[str] = "sync.forget"
    Payload: ClassVar[type[ForgetPayload]] = ForgetPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: ForgetPayload = job.payload
        done = await self.upkeep.forget(keep=timedelta(days=payload.keep_days))
        return Snooze(AT_ONCE, "more changes are old") if done.more else Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(ForgetChanges.kind, {}, unique_key=ForgetChanges.kind), every=timedelta(hours=1)),
    Routine(NewJob(NotifyConflicts.kind, {}, unique_key=NotifyConflicts.kind), every=timedelta(minutes=5)),
)
