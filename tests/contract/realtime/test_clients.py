"""The official clients against the server: Python's `realtime` and supabase-js, run by Deno."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent, RealtimeSubscribeStates

from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.tokens import USERS, token
from tests.eventually import eventually
from tests.stack.scripts import deno_environment, script_command

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

Database = AsyncConnection[Any]
SCRIPT = Path(__file__).with_name("client.ts")
POLICY = (
    "create policy bc_read on realtime.messages for select to authenticated using (realtime.topic() = 'js')"
)
SEND = "select realtime.send(jsonb_build_object('n', %s::int), 'ring', %s, true)"


@asynccontextmanager
async def python_client(server: ServerProcess, key: str) -> AsyncIterator[AsyncRealtimeClient]:
    client = AsyncRealtimeClient(f"{server.ws_url}/realtime/v1", token=key)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


async def test_python_client_hears_database_broadcasts(server: ServerProcess, database: Database) -> None:
    heard: list[Any] = []
    states: list[Any] = []
    async with python_client(server, token("service_role")) as client:
        channel = client.channel("py", {"config": {"private": True, "broadcast": None, "presence": None}})
        channel.on_broadcast("ring", heard.append)
        await channel.subscribe(lambda state, error: states.append(state))
        await eventually(lambda: RealtimeSubscribeStates.SUBSCRIBED in states)
        await database.execute(SEND, [1, "py"])
        await eventually(lambda: heard)
    (message,) = heard
    assert message["event"] == "ring"
    assert message["payload"]["n"] == 1
    assert message["meta"]["id"] == message["payload"]["id"]


async def test_python_client_hears_changes_under_row_level_security(
    server: ServerProcess, database: Database
) -> None:
    changes: list[Any] = []
    systems: list[Any] = []
    async with python_client(server, token("anon")) as client:
        await client.set_auth(token("authenticated", "1"))
        channel = client.channel("py-changes")
        channel.on_postgres_changes(
            RealtimePostgresChangesListenEvent.All, changes.append, schema="public", table="notes"
        )
        channel.on_system(systems.append)
        await channel.subscribe()
        await eventually(lambda: systems)
        assert (systems[0].extension, systems[0].status) == ("postgres_changes", "ok")
        await database.execute(
            "insert into public.notes values (8001, %s, 'theirs'), (8002, %s, 'mine')",
            [USERS["2"], USERS["1"]],
        )
        await eventually(lambda: changes)
    assert [change["data"]["record"]["id"] for change in changes] == [8002]


async def test_python_client_is_told_when_a_private_channel_is_denied(server: ServerProcess) -> None:
    states: list[Any] = []
    async with python_client(server, token("anon")) as client:
        channel = client.channel("nobody", {"config": {"private": True, "broadcast": None, "presence": None}})
        await channel.subscribe(lambda state, error: states.append((state, str(error))))
        await eventually(lambda: states)
        await channel.unsubscribe()
    state, error = states[0]
    assert state == RealtimeSubscribeStates.CHANNEL_ERROR
    assert "You do not have permissions to read from this Channel topic: nobody" in error


class Script:
    """The running `client.ts` and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[tuple[str, Any]] = []

    async def until(self, what: str, matches: Callable[[Any], bool] = bool, seconds: float = 20) -> Any:
        """The first value under this name that matches, of those said so far and to come."""
        seen = 0
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            while True:
                for name, value in self.said[seen:]:
                    if name == what and matches(value):
                        return value
                seen = len(self.said)
                line = await self._process.stdout.readline()
                assert line, f"the script ended; it had said {self.said}"
                said = json.loads(line)
                self.said.append((said["what"], said["value"]))

    async def finish(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(20):
            return await self._process.wait()


@asynccontextmanager
async def supabase_js(server: ServerProcess) -> AsyncIterator[Script]:
    process = await asyncio.create_subprocess_exec(
        *script_command(SCRIPT, server.http_url, token("anon"), token("authenticated", "1")),
        env=deno_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_supabase_js_hears_broadcasts_and_changes(server: ServerProcess, database: Database) -> None:
    await database.execute("drop policy if exists bc_read on realtime.messages")
    await database.execute(POLICY)
    async with supabase_js(server) as script:
        assert await script.until("sent") == "ok"
        assert (await script.until("own"))["payload"] == {"n": 1}
        system = await script.until("system", lambda value: value["extension"] == "postgres_changes")
        assert system["status"] == "ok"
        denied = await script.until("denied")
        assert denied["status"] == "CHANNEL_ERROR"
        assert "You do not have permissions to read" in denied["error"]

        await database.execute(SEND, [1, "js"])
        message = await script.until("broadcast")
        assert (message["event"], message["payload"]["n"]) == ("ring", 1)
        assert message["meta"]["id"] == message["payload"]["id"]
        await database.execute("select realtime.send_binary('\\xdead', 'ring', 'js', true)")
        binary = await script.until("broadcast", lambda value: "bytes" in value["payload"])
        assert binary["payload"]["bytes"] == [0xDE, 0xAD]

        await database.execute(
            "insert into public.notes values (8003, %s, 'theirs'), (8004, %s, 'mine')",
            [USERS["2"], USERS["1"]],
        )
        change = await script.until("change")
        assert (change["eventType"], change["new"]["id"]) == ("INSERT", 8004)
        assert await script.finish() == 0
    await database.execute("drop policy bc_read on realtime.messages")
