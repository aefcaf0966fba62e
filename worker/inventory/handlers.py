"""The sweeper of reservations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.gateway.inventory import Swept
from worker.log import get_logger


class Reservations(Protocol):
    """The slice's outside door. Raises `GatewayError`."""

    async def sweep(self, *, limit: int) -> Swept: ...


class SweepPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(1000, ge=1, le=10_000)


@dataclass(frozen=True, slots=True)
class SweepReservations:
    """Ends holds whose time is over. Harmless twice: what is ended already is no longer held."""

    reservations: Reservations
    kind: ClassVar[str] = "inventory.sweep"
    Payload: ClassVar[type[SweepPayload]] = SweepPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: SweepPayload = job.payload
        swept = await self.reservations.sweep(limit=payload.limit)
        if swept.expired:
            get_logger("worker.inventory").info("inventory.swept", expired=swept.expired, more=swept.more)
        # a storm is swept in slices, and whatever else is due gets its turn between them
        return Snooze(timedelta(0), "more holds are over") if swept.more else Done()


ROUTINES: Sequence[Routine] = (
    Routine(
        NewJob(SweepReservations.kind, {}, unique_key=SweepReservations.kind), every=timedelta(seconds=15)
    ),
)
