from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.images.hosts.cloudinary_double import CloudinaryDouble, cloudinary_double
from tests.images.hosts.worlds import WORLDS, World, open_world


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(request.param, tmp_path / "held") as opened:
        yield opened


@pytest.fixture
async def double() -> AsyncIterator[CloudinaryDouble]:
    async with cloudinary_double() as opened:
        yield opened
