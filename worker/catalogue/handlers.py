"""The catalogue's jobs, and how often they are queued besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict

from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.log import get_logger

SLICE: Final = 200
"""Products a call, which must end well within its time limit."""
MOST_SLICES: Final = 50
"""Slices a job, so that a long list does not outlast its lease; the rest is the job's next turn."""


class Published(Protocol):
    """What one call did: drafts published, drafts whose rules forbade it, and whether more may be due."""

    published: int
    failed: int
    more: bool


class DuePublishing(Protocol):
    """The slice's outside door."""

    async def publish_due(self, *, limit: int) -> Published: ...


class PublishDuePayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class PublishDue:
    """Publishes drafts whose `publish_at` has come. Harmless twice: what is published is due no longer."""

    publishing: DuePublishing
    kind: ClassVar[str] = "catalogue.publish_due"
    Payload: ClassVar[type[PublishDuePayload]] = PublishDuePayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        published = failed = 0
        more = True
        for _ in range(MOST_SLICES):
            done = await self.publishing.publish_due(limit=SLICE)
            published, failed, more = published + done.published, failed + done.failed, done.more
            if not more:
                break
        if published or failed:
            get_logger("worker.catalogue").info("catalogue.published", published=published, failed=failed)
        return Snooze(timedelta(0), "more is due") if more else Done()


# Every plan queues a job for its moment; this is for what a plan could miss, such as a clock that was set.
ROUTINES: Sequence[Routine] = (
    Routine(NewJob(PublishDue.kind, {}, unique_key=PublishDue.kind), every=timedelta(minutes=5)),
)
