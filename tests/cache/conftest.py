"""A real redis-server of one's own; tests of it are skipped where the machine has none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.engine.clock import ManualClock
from tests.engine.conftest import clock, condition, make_runner, metrics, queue
from tests.stack.guard import Guard
from tests.stack.paths import temp_base
from tests.stack.ports import PortLeases
from tests.stack.process import Child
from tests.stack.redis import NO_REDIS, binary, redis
from worker.cache.store import CacheStore
from worker.engine.condition import Condition

__all__ = ["clock", "condition", "make_runner", "metrics", "queue"]


@dataclass(frozen=True)
class Server:
    url: str
    process: Child


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    if (executable := binary()) is None:
        pytest.skip(NO_REDIS)
    run = Path(tempfile.mkdtemp(prefix="pms-stack-redis-", dir=temp_base()))
    guard, ports = Guard(), PortLeases()
    port = ports.take()
    child = redis(executable, port=port, run=run, guard=guard)
    child.start()
    yield Server(f"redis://127.0.0.1:{port}/0", child)
    child.stop()
    guard.close()
    ports.release()
    shutil.rmtree(run)


@pytest.fixture
async def server(session_server: Server) -> Server:
    """Running and empty at the start."""
    if not session_server.process.running:
        session_server.process.start()
    async with Redis.from_url(session_server.url) as client:
        await client.flushall()
    return session_server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    again = Retry(NoBackoff(), 2)  # for a connection that a kill closed
    async with Redis.from_url(server.url, decode_responses=True, retry=again) as client:
        yield client


@pytest.fixture
async def store(server: Server) -> AsyncIterator[CacheStore]:
    async with CacheStore(SecretStr(server.url)) as store:
        yield store


@pytest.fixture
def redis_answers(clock: ManualClock) -> Condition:
    return Condition("redis", clock, lost="part.failing", back="part.working")
