"""The two commands, run as a person runs them, against the platform."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack.addresses import Addresses

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class PmsWorker:
    """`await pms_worker("import", …)`; `start` gives the process instead."""

    environment: dict[str, str]
    folder: Path

    async def start(self, *arguments: str | Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", *map(str, arguments)),
            env=self.environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str | Path) -> Ended:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        return Ended(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
def pms_worker(addresses: Addresses, tmp_path: Path) -> PmsWorker:
    environment = {**os.environ, **addresses.worker_settings(0), "PYTHONPATH": str(ROOT)}
    return PmsWorker(environment, tmp_path)
