"""One platform for the whole-path tests, apart from the shared one: a worker takes the work of everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.flow.scene import Scene, played_on
from tests.flow.worker_process import WorkerProcess
from tests.stack.platform import Platform


@pytest.fixture(scope="module")
def flow_platform() -> Iterator[Platform]:
    with Platform(with_functions=False) as own:
        yield own


@pytest.fixture
async def scene(flow_platform: Platform) -> AsyncIterator[Scene]:
    async with played_on(flow_platform) as played:
        yield played


@pytest.fixture
async def worker(scene: Scene) -> AsyncIterator[WorkerProcess]:
    """A running worker that hears the bell."""
    async with scene.worker() as running:
        await running.until_realtime("live", 30)
        yield running
