"""Puts the parts of images together from the settings."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry

from worker.config import Settings
from worker.engine.clock import Clock
from worker.engine.ports import Handler, Rpc
from worker.gateway.images import RpcImages
from worker.gateway.uploads import StorageUploads
from worker.images.fetch import Fetcher
from worker.images.gate import HostGate
from worker.images.handlers import SCRATCH, ProcessImage
from worker.images.hearing import HostEar
from worker.images.hosts.account import Account
from worker.images.hosts.build import image_host
from worker.images.hosts.notifications import notification_routes
from worker.images.hosts.serving import image_routes
from worker.images.housekeeping import AuditHost, DeleteFiles, SweepImages
from worker.images.meter import ImageMeter
from worker.images.sources import ImageSources
from worker.images.workshop import Workshop
from worker.resolver import SystemResolver
from worker.tls import tls_context
from worker.wall import Wall


@dataclass(frozen=True, slots=True)
class ImageParts:
    """`process` is slow, and has slots of its own; `upkeep` runs with the other jobs; `routes` serve what the
    local host keeps, or hear what Cloudinary tells."""

    process: Handler
    upkeep: Sequence[Handler]
    routes: Sequence[web.RouteDef]


@asynccontextmanager
async def image_parts(
    settings: Settings, rpc: Rpc, *, clock: Clock, registry: CollectorRegistry | None = None
) -> AsyncIterator[ImageParts]:
    """Raises `HostUnconfigured` when the settings mean no image host."""
    async with AsyncExitStack() as stack:
        images = RpcImages(rpc)
        await asyncio.to_thread(_tidy)
        host = await stack.enter_async_context(image_host(settings))
        uploads = await stack.enter_async_context(StorageUploads(settings))
        proxy = settings.worker_egress_proxy
        fetcher = Fetcher(
            Wall(SystemResolver(), allow=settings.worker_allow_private_hosts),
            clock=clock,
            tls=tls_context(),
            proxy=None if proxy is None else proxy.get_secret_value(),
        )
        sources = ImageSources(await stack.enter_async_context(fetcher), uploads)
        workshop = await stack.enter_async_context(Workshop(processes=settings.worker_image_processes))
        yield ImageParts(
            process=ProcessImage(
                images, sources, workshop, host, HostGate(clock), meter=ImageMeter(registry)
            ),
            upkeep=[
                SweepImages(images),
                DeleteFiles(images, host, uploads, clock),
                AuditHost(images, host),
            ],
            routes=_routes(settings, images),
        )


def _tidy() -> None:
    """Removes what killed workers left of pictures that they had in hand; no job takes so long."""
    oldest = time.time() - 3600
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):  # another worker is at it, or it is somebody else's
            if not left.is_symlink() and left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)


def _routes(settings: Settings, images: RpcImages) -> Sequence[web.RouteDef]:
    if settings.cloudinary_url is None or settings.image_host == "local":
        return image_routes(settings.worker_image_dir)
    ear = HostEar(images, settings.image_host, settings.worker_image_prefix)
    return notification_routes(Account.from_url(settings.cloudinary_url).api_secret, ear.hear)
