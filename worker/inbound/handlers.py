"""The jobs of inbound webhooks: one that waits is worked as its sender, and old ones are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.gateway.inbound import Applied
from worker.log import get_logger

APPLIED: Final = "inbound.applied"


class Inbound(Protocol):
    """The slice's outside door. Raises `GatewayError`."""

    async def apply(self, principal_id: str, webhook_id: str) -> Applied: ...


class Upkeep(Protocol):
    """Another outside door. Raises `GatewayError`."""

    async def forget(self, *, keep: timedelta) -> bool: ...


class EventPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook_id: UUID
    principal_id: UUID


@dataclass(frozen=True, slots=True)
class ApplyEvent:
    """Works one event that waits. Harmless twice: what is settled is not done again. A refusal is kept with
    the event, and is no failure of the job; one that came too early waits."""

    inbound: Inbound
    kind: ClassVar[str] = "inbound.apply"
    Payload: ClassVar[type[EventPayload]] = EventPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: EventPayload = job.payload
        applied = await self.inbound.apply(str(payload.principal_id), str(payload.webhook_id))
        get_logger("worker.inbound").info(APPLIED, status=applied.status)
        if applied.status == "queued":
            return Snooze(timedelta(seconds=applied.in_seconds), "it waits for its turn")
        return Done()


class ForgetPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int = Field(30, ge=1, le=3650)


@dataclass(frozen=True, slots=True)
class ForgetEvents:
    """Forgets events of long ago, and queues again those whose job was buried. Harmless twice: the second
    finds none."""

    upkeep: Upkeep
    kind: ClassVar[str] = "inbound.forget"
    Payload: ClassVar[type[ForgetPayload]] = ForgetPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: ForgetPayload = job.payload
        more = await self.upkeep.forget(keep=timedelta(days=payload.keep_days))
        return Snooze(timedelta(0), "more events are old") if more else Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(ForgetEvents.kind, {}, unique_key=ForgetEvents.kind), every=timedelta(hours=1)),
)
