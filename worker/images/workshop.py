"""Where pictures are worked on: a few child processes, so that a decoder that crashes costs one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from worker.images.limits import Limits
from worker.images.picture import Picture
from worker.images.process import PictureProcess


class Workshop:
    """`async with Workshop() as workshop: picture = await workshop.work(source, into, derivatives=True)`.

    `processes` bounds how many pictures are worked on at once, and so the memory: each has
    `limits.memory_bytes`. They start with the first picture; one is replaced after `recycle_after` pictures,
    so that what a decoder leaks does not add up, and after every loss.
    """

    def __init__(self, *, processes: int = 1, limits: Limits | None = None, recycle_after: int = 200) -> None:
        if processes < 1 or recycle_after < 1:
            raise ValueError("a workshop needs a process, which has to do at least one picture")
        self._limits = limits or Limits()
        self._recycle_after = recycle_after
        self._free: asyncio.LifoQueue[PictureProcess | None] = asyncio.LifoQueue()
        for _ in range(processes):
            self._free.put_nowait(None)
        self._running: set[PictureProcess] = set()
        self._closed = False
        self._scratch = TemporaryDirectory(prefix="pms-images-", ignore_cleanup_errors=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._closed = True
        await asyncio.gather(*(each.end() for each in self._running))
        self._scratch.cleanup()

    async def work(self, source: Path, into: Path, *, derivatives: bool) -> Picture:
        """Looks at the file `source` and writes what may be served to the folder `into`.

        The same bytes give the same renditions, byte for byte, on the same version of libvips. Raises
        `Unfit` when the file is no picture that can be served, `NoRoom` when the disk is full, and
        `WorkshopLost` when the process ended or had to be ended; whoever is cancelled ends it as well. After
        any of these `into` may hold a part.
        """
        async with self._process() as process:
            return await process.work(source, into, derivatives=derivatives)

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [each.pid for each in self._running if each.alive]

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[PictureProcess]:
        process = await self._free.get()
        if self._closed:
            self._free.put_nowait(process)
            raise RuntimeError("the workshop is closed")
        try:
            if process is None or not process.alive:  # it may have been ended while it was idle
                process = await self._another(process)
            try:
                yield process
            finally:
                if process.alive and process.worked >= self._recycle_after:
                    await process.end()
        finally:
            if process is not None and not process.alive:
                self._running.discard(process)
                process = None
            self._free.put_nowait(process)

    async def _another(self, former: PictureProcess | None) -> PictureProcess:
        if former is not None:
            self._running.discard(former)
        process = await PictureProcess.start(self._limits, Path(self._scratch.name))
        self._running.add(process)
        return process
