"""The jobs that keep image hosts clean: what nothing shows goes, and what nobody knows after a day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.clock import Clock
from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.errors import GatewayError, HostError
from worker.gateway.images import ImagesSwept
from worker.images.hosts import ImageHost
from worker.log import get_logger

SWEPT: Final = "images.swept"
FILES_DELETED: Final = "images.files_deleted"
FILE_STAYS: Final = "images.file_stays"
FILES_UNKNOWN: Final = "images.files_unknown"
UPLOADS: Final = "upload"
"""The bucket of uploads, as if it were a host."""
LEASE: Final = timedelta(minutes=5)
# none is begun later: a file whose lease has ended may be needed again
LATEST: Final = timedelta(minutes=4)
_AT_ONCE: Final = timedelta(0)
_BATCH: Final = 100
_SIDE_BY_SIDE: Final = 4
_PAGE: Final = 500


class Files(Protocol):
    """The slice's outside door: see `worker.gateway.images.RpcImages`. Raises `GatewayError`."""

    async def sweep(self, *, keep: timedelta, limit: int) -> ImagesSwept: ...
    async def doomed(self, host: str, *, limit: int, lease: timedelta) -> Sequence[str]: ...
    async def gone(self, host: str, public_ids: Sequence[str]) -> None: ...
    async def judge(self, host: str, public_ids: Sequence[str]) -> int: ...


class Uploads(Protocol):
    """Raises `GatewayError`; nothing happens for what is not there."""

    async def remove(self, path: str) -> None: ...


class NoPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SweepPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int = Field(30, ge=1, le=3650)
    limit: int = Field(1000, ge=1, le=10_000)


@dataclass(frozen=True, slots=True)
class SweepImages:
    """Ends versions and assets whose time is over, and settles pictures whose job was lost. Harmless twice:
    the second finds none."""

    files: Files
    kind: ClassVar[str] = "images.sweep"
    Payload: ClassVar[type[SweepPayload]] = SweepPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: SweepPayload = job.payload
        swept = await self.files.sweep(keep=timedelta(days=payload.keep_days), limit=payload.limit)
        told = swept.model_dump(exclude={"more"})
        if any(told.values()):
            get_logger("worker.images").info(SWEPT, **told)
        return Snooze(_AT_ONCE, "more is over") if swept.more else Done()


@dataclass(frozen=True, slots=True)
class DeleteFiles:
    """Deletes doomed files at the host and among the uploads. Harmless twice: what is gone is gone."""

    files: Files
    host: ImageHost
    uploads: Uploads
    clock: Clock
    kind: ClassVar[str] = "images.delete_files"
    Payload: ClassVar[type[NoPayload]] = NoPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        ways: Mapping[str, Callable[[str], Awaitable[None]]] = {
            self.host.name: self.host.delete,
            UPLOADS: self.uploads.remove,
        }
        more = [await self._delete(name, way) for name, way in ways.items()]
        return Snooze(_AT_ONCE, "more files are doomed") if any(more) else Done()

    async def _delete(self, host: str, way: Callable[[str], Awaitable[None]]) -> bool:
        """Whether all of a full batch went, so that others may be next."""
        until = self.clock.monotonic() + LATEST.total_seconds()
        doomed = await self.files.doomed(host, limit=_BATCH, lease=LEASE)
        gone: list[str] = []
        waiting = list(reversed(doomed))

        async def one_by_one() -> None:
            while waiting and self.clock.monotonic() < until:
                name = waiting.pop()
                try:
                    await way(name)
                except (HostError, GatewayError) as error:
                    get_logger("worker.images").warning(FILE_STAYS, host=host, file=name, error=str(error))
                else:
                    gone.append(name)

        await asyncio.gather(*(one_by_one() for _ in range(_SIDE_BY_SIDE)))
        if gone:
            await self.files.gone(host, gone)
            get_logger("worker.images").info(FILES_DELETED, host=host, files=len(gone))
        return len(gone) == _BATCH


@dataclass(frozen=True, slots=True)
class AuditHost:
    """Goes through all that the host has, and dooms what nobody knows. Harmless twice: doomed is doomed."""

    files: Files
    host: ImageHost
    kind: ClassVar[str] = "images.audit"
    Payload: ClassVar[type[NoPayload]] = NoPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        after: str | None = None
        unknown = 0
        while True:
            page = await self.host.listing(after, _PAGE)
            if page.public_ids:
                unknown += await self.files.judge(self.host.name, page.public_ids)
            if page.after is None:
                break
            after = page.after
        if unknown:
            get_logger("worker.images").warning(FILES_UNKNOWN, host=self.host.name, files=unknown)
        return Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(SweepImages.kind, {}, unique_key=SweepImages.kind), every=timedelta(minutes=10)),
    Routine(NewJob(DeleteFiles.kind, {}, unique_key=DeleteFiles.kind), every=timedelta(minutes=1)),
    Routine(NewJob(AuditHost.kind, {}, unique_key=AuditHost.kind), every=timedelta(days=1)),
)
