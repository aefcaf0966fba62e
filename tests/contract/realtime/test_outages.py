"""What happens to joined clients when a part goes away: nobody tells them, and they hear again afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from tests.contract.realtime.conftest import Bench, Connect
from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.talk import SUBSCRIBED, join, join_table, next_payload
from tests.contract.realtime.wire import Socket
from tests.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

Database = AsyncConnection[Any]
SEND = "select realtime.send(jsonb_build_object('n', %s::int), 'ring', 'out', true)"


@pytest.fixture
def own_server(own_bench: Bench) -> Iterator[ServerProcess]:
    own_bench.postgres.start()  # a former test may have stopped it
    with own_bench.server() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def own_database(own_bench: Bench, own_server: ServerProcess) -> AsyncIterator[Database]:
    async with await AsyncConnection.connect(own_bench.url, autocommit=True) as connection:
        await connection.execute("truncate public.todos")
        yield connection


async def hears_both_again(server: ServerProcess) -> None:
    async def both() -> bool:
        health = await server.health()
        return bool(health["broadcast"] and health["changes"])

    await eventually(both, 20)


async def end_backends(database: Database, *names: str) -> None:
    """Ends them and waits until they are gone."""
    cursor = await database.execute(
        "select pid from pg_stat_activity where application_name = any (%s)", [list(names)]
    )
    pids = [pid for (pid,) in await cursor.fetchall()]
    assert len(pids) >= len(names)
    await database.execute("select pg_terminate_backend(p, 5000) from unnest(%s::int[]) p", [pids])


async def joined(connect: Connect, server: ServerProcess) -> Socket:
    socket = await connect(server)
    await join(socket, "out", private=True)
    await join_table(socket, "table", "todos", ref="2")
    return socket


async def hears_new_messages_only(socket: Socket, database: Database, number: int) -> None:
    await database.execute(SEND, [number])
    await database.execute("insert into public.todos (id) values (%s)", [number])
    assert (await next_payload(socket, "out"))["payload"]["n"] == str(number)
    assert (await next_payload(socket, "table"))["data"]["record"]["id"] == str(number)
    await socket.settle()
    assert socket.unexpected() == []


async def test_ended_backends_are_replaced_without_a_word(
    own_server: ServerProcess, own_database: Database, connect: Connect
) -> None:
    socket = await joined(connect, own_server)
    names = ("realtime_replication_connection", "realtime_rls")
    await end_backends(own_database, *names)

    async def replaced() -> bool:
        cursor = await own_database.execute(
            "select from pg_stat_activity where application_name = any (%s)", [list(names)]
        )
        return cursor.rowcount == len(names)

    await eventually(replaced)
    await hears_both_again(own_server)
    await hears_new_messages_only(socket, own_database, 1)


async def test_messages_of_the_gap_are_lost_but_can_be_replayed(
    own_bench: Bench, own_database: Database, connect: Connect
) -> None:
    with own_bench.server(REPLICATION_RETRY_MS="1000") as server:
        socket = await connect(server)
        await join(socket, "out", private=True)
        row = await (await own_database.execute("select extract(epoch from now()) * 1000")).fetchone()
        assert row is not None
        await end_backends(own_database, "realtime_replication_connection")

        async def deaf() -> bool:
            return not (await server.health())["broadcast"]

        await eventually(deaf)
        await own_database.execute(SEND, [1])

        async def hears() -> bool:
            return bool((await server.health())["broadcast"])

        await eventually(hears)
        await own_database.execute(SEND, [2])
        assert (await next_payload(socket, "out"))["payload"]["n"] == "2"
        other = await connect(server)
        await join(other, "out", private=True, broadcast={"replay": {"since": int(row[0])}})
        replayed = [(await next_payload(other, "out"))["payload"]["n"] for _ in range(2)]
        assert replayed == ["1", "2"]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgres_restart_is_survived_without_a_word(
    own_bench: Bench, own_server: ServerProcess, own_database: Database, connect: Connect, mode: Any
) -> None:
    socket = await joined(connect, own_server)
    async with asyncio.timeout(20):  # a fast stop waits for walsenders that do not confirm what they got
        await asyncio.to_thread(own_bench.postgres.restart, mode)
    await hears_both_again(own_server)
    async with await AsyncConnection.connect(own_bench.url, autocommit=True) as database:
        await hears_new_messages_only(socket, database, 1)


async def test_joins_while_postgres_is_away_recover_by_themselves(
    own_bench: Bench, own_server: ServerProcess, own_database: Database, connect: Connect
) -> None:
    await asyncio.to_thread(own_bench.postgres.stop, "immediate")
    socket = await connect(own_server)
    refused = await join(socket, "out", private=True)
    assert refused["response"]["reason"].startswith("UnableToConnectToProject: ")
    changes = [{"event": "*", "schema": "public", "table": "todos"}]
    assert (await join(socket, "table", ref="2", changes=changes))["status"] == "ok"
    system = await next_payload(socket, "table")
    assert (system["status"], system["message"]) == ("error", '{:error, "Too many database timeouts"}')
    await asyncio.to_thread(own_bench.postgres.start)

    async def subscribed() -> bool:
        return bool((await next_payload(socket, "table"))["message"] == SUBSCRIBED)

    await eventually(subscribed, 20)


async def test_a_killed_server_leaves_no_slots_behind(
    own_bench: Bench, own_database: Database, connect: Connect
) -> None:
    async def slots() -> int:
        return (await own_database.execute("select from pg_replication_slots")).rowcount

    before = await slots()
    with own_bench.server() as server:
        socket = await joined(connect, server)
        assert await slots() == before + 2
        server.kill()
        assert await socket.close_code() == 1006

    async def as_before() -> bool:
        return await slots() == before

    await eventually(as_before)


async def test_settings_are_checked_at_the_start() -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("REALTIME_")}
    for settings, complaint in (
        ({}, b"REALTIME_DB_URL is not set"),
        (
            {"REALTIME_DB_URL": "postgresql://x", "REALTIME_JWT_SECRET": "s", "REALTIME_PORT": "x"},
            b"REALTIME_PORT",
        ),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.stack.realtime",
            env=environment | settings,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert complaint in errors
