"""The bytes of objects, in files named by version."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.stack.storage.problems import too_large

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Kept:
    version: str
    size: int
    etag: str
    """With its quotes, as the header has it."""


class StorageFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    async def keep(self, chunks: AsyncIterator[bytes], *, limit: int) -> Kept:
        """A new file of at most `limit` bytes. Raises `StorageProblem`; what failed leaves nothing behind."""
        version, size, digest = str(uuid.uuid4()), 0, hashlib.md5(usedforsecurity=False)
        try:
            with self.path(version).open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise too_large()
                    digest.update(chunk)
                    file.write(chunk)
        except BaseException:
            self.drop(version)
            raise
        return Kept(version, size, f'"{digest.hexdigest()}"')

    def path(self, version: str) -> Path:
        return self._folder / str(uuid.UUID(version))

    def drop(self, version: str) -> None:
        with contextlib.suppress(OSError):
            self.path(version).unlink()
