"""The jobs of housekeeping, and how often they are queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.log import get_logger


class Housekeeping(Protocol):
    """The slice's outside door."""

    async def make_partitions(self, *, days_ahead: int) -> list[str]: ...
    async def drop_partitions(self, *, keep_days: int) -> list[str]: ...
    async def forget_command_results(self, *, keep: timedelta) -> int: ...

    async def forget_api_requests(self) -> bool:
        """Forgets one slice of what requests of API keys left; whether there is more."""
        ...


class Erasure(Protocol):
    """The outside door of erasing."""

    async def erase_tenants(self) -> int:
        """Erases one slice; how many deleted tenants still have rows."""
        ...


class PartitionsPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    days_ahead: int = Field(7, ge=1, le=60)
    keep_days: int = Field(30, ge=1, le=3650)


class CommandResultsPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_hours: int = Field(24, ge=1, le=24 * 365)


@dataclass(frozen=True, slots=True)
class KeepPartitions:
    """Makes partitions ahead and drops old ones. Harmless twice: what is there or gone already is skipped."""

    housekeeping: Housekeeping
    kind: ClassVar[str] = "upkeep.partitions"
    Payload: ClassVar[type[PartitionsPayload]] = PartitionsPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: PartitionsPayload = job.payload
        made = await self.housekeeping.make_partitions(days_ahead=payload.days_ahead)
        dropped = await self.housekeeping.drop_partitions(keep_days=payload.keep_days)
        if made or dropped:
            get_logger("worker.upkeep").info("upkeep.partitions", made=made, dropped=dropped)
        return Done()


@dataclass(frozen=True, slots=True)
class ForgetCommandResults:
    """Forgets stored answers of commands past their time. Harmless twice: the second finds none."""

    housekeeping: Housekeeping
    kind: ClassVar[str] = "upkeep.command_results"
    Payload: ClassVar[type[CommandResultsPayload]] = CommandResultsPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: CommandResultsPayload = job.payload
        forgotten = await self.housekeeping.forget_command_results(keep=timedelta(hours=payload.keep_hours))
        if forgotten:
            get_logger("worker.upkeep").info("upkeep.command_results", forgotten=forgotten)
        return Done()


class RequestsPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class ForgetApiRequests:
    """Forgets nonces, rates and secrets past their time. Harmless twice: each slice is another one."""

    housekeeping: Housekeeping
    kind: ClassVar[str] = "upkeep.api_requests"
    Payload: ClassVar[type[RequestsPayload]] = RequestsPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        return Snooze(timedelta(0)) if await self.housekeeping.forget_api_requests() else Done()


class ErasurePayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class EraseTenants:
    """Erases what deleted tenants left, slice by slice. Harmless twice: each slice is another one."""

    erasure: Erasure
    kind: ClassVar[str] = "upkeep.erase_tenants"
    Payload: ClassVar[type[ErasurePayload]] = ErasurePayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        left = await self.erasure.erase_tenants()
        if left:
            return Snooze(timedelta(0))
        get_logger("worker.upkeep").info("upkeep.erased_tenants")
        return Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(KeepPartitions.kind, {}, unique_key=KeepPartitions.kind), every=timedelta(hours=6)),
    Routine(
        NewJob(ForgetCommandResults.kind, {}, unique_key=ForgetCommandResults.kind), every=timedelta(hours=1)
    ),
    Routine(
        NewJob(ForgetApiRequests.kind, {}, unique_key=ForgetApiRequests.kind), every=timedelta(minutes=10)
    ),
)
