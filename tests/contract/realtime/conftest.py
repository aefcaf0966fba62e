"""A Postgres of its own with the recorder's tables, and the server before it.

Own, because these tests drop partitions, end the server's sessions and count what it says; shared by the run.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from tests.contract.realtime.player import Player, open_probe
from tests.contract.realtime.server_process import ServerProcess, server_process
from tests.contract.realtime.tokens import token
from tests.contract.realtime.wire import Socket
from tests.stack.guard import Guard
from tests.stack.paths import temp_base
from tests.stack.ports import PortLeases
from tests.stack.postgres import SUPERUSER, Postgres, create_cluster
from tests.stack.project import read_project
from tests.stack.template import bootstrap

_suffixes = itertools.count(1)
Connect = Callable[..., Awaitable[Socket]]
TABLES = Path(__file__).with_name("tables.sql")


@dataclass(frozen=True)
class Bench:
    """Where the tests of this folder run. Their settings are those of `server_process`."""

    postgres: Postgres
    log: Path

    @property
    def url(self) -> str:
        return self.postgres.url(SUPERUSER)

    def server(self, **settings: str) -> AbstractContextManager[ServerProcess]:
        """A server of one's own, with its own slots."""
        suffix = f"_own_{next(_suffixes)}"
        return server_process(self.url, self.log, **({"SLOT_SUFFIX": suffix} | settings))


@contextmanager
def new_bench() -> Iterator[Bench]:
    run = Path(tempfile.mkdtemp(prefix="pms-realtime-contract-", dir=temp_base()))
    run.chmod(0o711)
    guard, ports = Guard(), PortLeases()
    guard.remove_at_end(str(run))
    try:
        create_cluster(run / "data")
        postgres = Postgres(run / "data", port=ports.take(), log=run / "postgres.log", guard=guard)
        postgres.start()
        ports.release()
        bootstrap(postgres.url(SUPERUSER), read_project(), vault=False)
        with psycopg.connect(postgres.url(SUPERUSER), autocommit=True) as connection:
            connection.execute(TABLES.read_bytes())
        yield Bench(postgres, run / "realtime.log")
        postgres.stop()
    finally:
        guard.close()


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with new_bench() as shared:
        yield shared


@pytest.fixture(scope="module")
def own_bench() -> Iterator[Bench]:
    """For tests that take Postgres away."""
    with new_bench() as own:
        yield own


@pytest.fixture(scope="session")
def server(bench: Bench) -> Iterator[ServerProcess]:
    with server_process(bench.url, bench.log) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as shared:
        yield shared


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database(bench: Bench, server: ServerProcess) -> AsyncIterator[AsyncConnection[Any]]:
    """Beside a server, which makes the partitions that messages go to."""
    async with await AsyncConnection.connect(bench.url, autocommit=True) as connection:
        yield connection


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def probe(server: ServerProcess, session: aiohttp.ClientSession) -> Socket:
    return await open_probe(server, session)


@pytest.fixture
def player(
    server: ServerProcess,
    session: aiohttp.ClientSession,
    database: AsyncConnection[Any],
    probe: Socket,
) -> Player:
    return Player(server, session, database, probe)


@pytest_asyncio.fixture(loop_scope="session")
async def connect(session: aiohttp.ClientSession) -> AsyncIterator[Connect]:
    """Opens sockets, and closes them after the test."""
    opened: list[Socket] = []

    async def open_socket(
        server: ServerProcess, *, role: str = "service_role", vsn: str = "1.0.0", user: str | None = None
    ) -> Socket:
        url = f"{server.http_url}/socket/websocket?vsn={vsn}&apikey={token(role, user)}"
        socket = Socket(await session.ws_connect(url, max_msg_size=0), vsn)
        opened.append(socket)
        return socket

    yield open_socket
    for socket in opened:
        await socket.close()
