"""The server under test, as the process that the platform runs."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from psycopg import AsyncConnection

from tests.contract.realtime.tokens import SECRET
from tests.eventually import eventually

READY_SECONDS = 15
STOP_SECONDS = 10
# The real server's pauses, shortened; a test that is about one of them sets its own.
FAST = {
    "ERROR_BACKOFF_MS": "30",
    "CONNECT_BACKOFF_MS": "30",
    "POLL_INTERVAL_MS": "5",
    "POLL_RETRY_MS": "50",
    "RESUBSCRIBE_MIN_MS": "20",
    "RESUBSCRIBE_MAX_MS": "40",
    "SUBSCRIBE_RETRY_MS": "500",
    "REPLICATION_RETRY_MS": "50",
    "MAX_EVENTS_PER_SECOND": "1000000",
    "MAX_CONNECTIONS": "1000",
    "IDLE_TIMEOUT_MS": "600000",
}


class ServerProcess:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.started_on = datetime.now(UTC).date()
        self.http_url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}"

    @asynccontextmanager
    async def held_still(self, database: AsyncConnection[Any]) -> AsyncIterator[None]:
        """Stops the process between two polls, so that what is done meanwhile is polled together."""
        self._process.send_signal(signal.SIGSTOP)
        try:

            async def between_polls() -> bool:
                cursor = await database.execute(
                    "select from pg_stat_activity where application_name = 'realtime_rls' and state <> 'idle'"
                )
                return cursor.rowcount == 0

            await eventually(between_polls)
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def health(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.http_url}/health") as response:
            body: dict[str, Any] = await response.json()
            return body

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def exit_code(self) -> int:
        """Waits for the process to end."""
        return self._process.wait(STOP_SECONDS)


@contextmanager
def server_process(database_url: str, log: Path, **settings: str) -> Iterator[ServerProcess]:
    """`settings` are named without their prefix: `IDLE_TIMEOUT_MS="300"`."""
    values = FAST | {"DB_URL": database_url, "PORT": "0", "JWT_SECRET": SECRET} | settings
    environment = os.environ | {f"REALTIME_{name}": value for name, value in values.items()}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.realtime"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield ServerProcess(process, _port(process, log))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(READY_SECONDS) else b""
    if not line:
        raise AssertionError(f"the server did not get ready:\n{log.read_text()[-2000:]}")
    ready = json.loads(line)
    assert ready["ready"] is True
    return int(ready["port"])
