"""The host that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from worker.config import Settings
from worker.errors import HostUnconfigured
from worker.images.hosts import ImageHost
from worker.images.hosts.local import LocalHost

if TYPE_CHECKING:
    from worker.images.hosts.cloudinary import CloudinaryHost


@asynccontextmanager
async def image_host(settings: Settings) -> AsyncIterator[ImageHost]:
    """Raises `HostUnconfigured` when the settings cannot mean one."""
    if settings.image_host == "local":
        yield LocalHost(settings.worker_image_dir, base_url=settings.image_base_url)
        return
    async with _cloudinary(settings) as host:
        yield host


async def probe(settings: Settings) -> str:
    """Tries the host as far as that leaves nothing behind; what to say of it. Raises `HostError`s."""
    if settings.image_host == "local":
        await LocalHost(settings.worker_image_dir, base_url=settings.image_base_url).probe()
        return f"are kept in {settings.worker_image_dir} and served at {settings.image_base_url}"
    async with _cloudinary(settings) as host:
        await host.ping()
        return f"go to Cloudinary, cloud {host.account.cloud_name}"


@asynccontextmanager
async def _cloudinary(settings: Settings) -> AsyncIterator[CloudinaryHost]:
    # only where it is used: the SDK reads the environment when it is imported
    from worker.images.hosts.account import Account
    from worker.images.hosts.cloudinary import cloudinary_host

    if settings.cloudinary_url is None:
        raise HostUnconfigured("IMAGE_HOST=cloudinary needs CLOUDINARY_URL")
    notify = settings.worker_image_notification_url
    async with cloudinary_host(
        Account.from_url(settings.cloudinary_url),
        prefix=settings.worker_image_prefix,
        notification_url=None if notify is None else str(notify),
    ) as host:
        yield host
