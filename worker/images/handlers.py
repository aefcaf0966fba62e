"""The jobs of pictures: from a source to what the PMS shows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final, Protocol, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from worker.engine.job import Done, Job, Outcome, Retry, Snooze
from worker.engine.retry import pause_after
from worker.errors import HostError
from worker.gateway.images import Asset, Ending, ImageTask
from worker.images.gate import HostGate
from worker.images.hosts import ImageHost, master_of
from worker.images.meter import ImageMeter
from worker.images.picture import Picture
from worker.images.room import NoRoom, room
from worker.images.trouble import Fault, trouble_of
from worker.log import get_logger

READY: Final = "images.ready"
TROUBLED: Final = "images.troubled"
ENDED: Final = "images.ended"
SCRATCH: Final = "pms-image-"
_BUSY_PAUSE: Final = timedelta(seconds=30)
_AT_ONCE: Final = timedelta(0)
_FAULTS: Final = get_args(Fault)


class Images(Protocol):
    """The slice's outside door: see `worker.gateway.images.RpcImages`. Raises `GatewayError`."""

    async def begin(self, image_id: str, revision: int) -> ImageTask | None: ...
    async def fetched(self, image_id: str, revision: int) -> bool: ...
    async def troubled(self, image_id: str, revision: int, error: Mapping[str, Any]) -> bool: ...
    async def fail(self, image_id: str, revision: int, ending: Ending, error: Mapping[str, Any]) -> bool: ...
    async def begin_asset(
        self, image_id: str, revision: int, *, host: str, picture: Mapping[str, Any]
    ) -> Asset | None: ...
    async def finish(
        self, image_id: str, revision: int, asset_id: str, urls: Mapping[str, str] | None
    ) -> bool: ...


class Sources(Protocol):
    """Where pictures come from. Raises `SourceRefused`, `SourceAway` and `GatewayError`."""

    async def fetch(self, task: ImageTask, into: Path) -> int: ...


class Bench(Protocol):
    """Looks at a file and makes of it what is served: see `worker.images.workshop.Workshop`."""

    async def work(self, source: Path, into: Path, *, derivatives: bool) -> Picture: ...


class ImagePayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    image_id: UUID
    revision: int


@dataclass(frozen=True, slots=True)
class ProcessImage:
    """Fetches a picture, inspects and stores it, and has it shown. Harmless twice: a file is named by its
    content, and a picture that is settled, or has another source by now, is left alone."""

    images: Images
    sources: Sources
    bench: Bench
    host: ImageHost
    gate: HostGate
    meter: ImageMeter = field(default_factory=ImageMeter)
    chance: random.Random = field(default_factory=random.Random)
    kind: ClassVar[str] = "images.process"
    Payload: ClassVar[type[ImagePayload]] = ImagePayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        if (shut := await self.gate.passable()) > _AT_ONCE:
            return Snooze(shut * (1 + self.chance.random()), "the image host is away, or the disk is full")
        image_id = str(job.payload.image_id)
        task = await self.images.begin(image_id, job.payload.revision)
        if task is None:
            return Done()
        try:
            with room(), TemporaryDirectory(prefix=SCRATCH) as scratch:
                return await self._process(image_id, task, Path(scratch))
        except _FAULTS as error:
            return await self._troubled(job, image_id, task, error)

    async def _process(self, image_id: str, task: ImageTask, scratch: Path) -> Outcome:
        source, made = scratch / "source", scratch / "made"
        made.mkdir()
        with self.meter.timed("fetch"):
            await self.sources.fetch(task, source)
        if not await self.images.fetched(image_id, task.revision):
            return Done()
        with self.meter.timed("work"):
            picture = await self.bench.work(source, made, derivatives=not self.host.derives)
        asset = await self.images.begin_asset(
            image_id, task.revision, host=self.host.name, picture=_facts(picture)
        )
        if asset is None:
            return Done()
        if asset.busy:
            return Snooze(_BUSY_PAUSE, "a file of that name is being deleted")
        urls = None if asset.stored else await self._stored(asset.public_id, picture)
        if await self.images.finish(image_id, task.revision, asset.asset_id, urls):
            self.meter.ready(picture)
            get_logger("worker.images").info(READY, image_id=image_id, format=picture.format)
            return Done()
        # replaced meanwhile, and then nothing is left to do; or its asset was swept, and is to be made again
        return Snooze(_AT_ONCE, "it changed while it was worked on")

    async def _stored(self, public_id: str, picture: Picture) -> Mapping[str, str]:
        with self.meter.timed("store"):
            urls = await self.host.store(public_id, picture.renditions)
        self.gate.passed()
        return urls

    async def _troubled(self, job: Job[Any], image_id: str, task: ImageTask, error: Fault) -> Outcome:
        trouble = trouble_of(error, attempt=job.attempt, max_attempts=job.max_attempts, crashes=task.crashes)
        log = get_logger("worker.images").bind(image_id=image_id, code=trouble.code)
        if trouble.ending is not None:
            log.info(ENDED, ending=trouble.ending, detail=trouble.detail)
            if await self.images.fail(image_id, task.revision, trouble.ending, trouble.told):
                self.meter.ended(trouble.ending)
            return Done()
        cause = str(error) if isinstance(error, HostError | NoRoom) else trouble.detail
        log.warning(TROUBLED, detail=cause)
        await self.images.troubled(image_id, task.revision, trouble.told)
        if not trouble.charged:
            return Snooze(self.gate.shut(trouble.wait) * (1 + self.chance.random()), cause)
        pause = max(pause_after(job.attempt, self.chance), trouble.wait or _AT_ONCE)
        return Retry(pause, cause)


def _facts(picture: Picture) -> dict[str, Any]:
    """By the columns of image_assets."""
    master = master_of(picture.renditions)
    return {
        "sha256": picture.sha256,
        "format": picture.format,
        "source_bytes": picture.source_bytes,
        "served_bytes": sum(each.bytes for each in picture.renditions),
        "width": master.width,
        "height": master.height,
        "color_space": picture.color_space,
        "has_alpha": picture.has_alpha,
        "animated": picture.animated,
        "had_gps": picture.had_gps,
        "dominant_colors": list(picture.dominant_colors),
        "blurhash": picture.blurhash,
        "perceptual_hash": picture.perceptual_hash,
    }
