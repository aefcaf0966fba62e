from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from worker.images.picture import Picture
from worker.images.workshop import Workshop

Develop = Callable[..., Awaitable[Picture]]


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    async with Workshop() as opened:
        yield opened


@pytest.fixture
def develop(workshop: Workshop, tmp_path: Path) -> Develop:
    """`await develop(bytes, derivatives=True)`: each picture in a folder of its own."""
    numbers = count()

    async def work(source: bytes, *, derivatives: bool = False) -> Picture:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "source").write_bytes(source)
        return await workshop.work(folder / "source", folder, derivatives=derivatives)

    return work
