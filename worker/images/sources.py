"""Where a picture comes from: a URL of the tenant's choice, or an upload to the project's storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker.errors import Refused
from worker.gateway.images import ImageTask
from worker.images.fetch import Fetcher
from worker.images.source import SourceRefused


class Uploads(Protocol):
    """See `worker.gateway.uploads.StorageUploads`. Raises `GatewayError`."""

    async def download(self, path: str, into: Path, *, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class ImageSources:
    fetcher: Fetcher
    uploads: Uploads

    async def fetch(self, task: ImageTask, into: Path) -> int:
        """Writes the source to `into`; how many bytes it has. Raises `SourceRefused`, `SourceAway`, and
        `GatewayError` when our own storage does not answer."""
        if task.upload_path is None:
            return await self.fetcher.fetch(task.source_url or "", into)
        try:
            return await self.uploads.download(task.upload_path, into, limit=self.fetcher.limits.bytes)
        except Refused as error:
            raise SourceRefused(error.message, error.detail or "The upload cannot be read.") from error
