"""Sessions with Postgres that come back by themselves after it went away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

CONNECT_TIMEOUT_SECONDS = 5
# Values are rendered by Postgres: these settings are part of the wire format.
SESSION_OPTIONS = (
    "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
    " -c statement_timeout=15000"
)


class Session:
    """One connection, used by one task at a time and opened anew when it was lost.

    Raises `psycopg.Error`; `psycopg.OperationalError` when the database cannot be reached.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection[TupleRow] | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """The connection in autocommit mode, exclusively."""
        async with self._lock:
            connection = await self._open()
            try:
                yield connection
            finally:
                if connection.broken:
                    await self._drop()

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A transaction that is always rolled back."""
        async with self.use() as connection, connection.transaction(force_rollback=True):
            yield connection

    async def close(self) -> None:
        async with self._lock:
            await self._drop()

    async def _open(self) -> AsyncConnection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name=self._name,
                options=SESSION_OPTIONS,
            )
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


async def set_local(connection: AsyncConnection[Any], settings: dict[str, str]) -> None:
    """Sets run-time parameters until the end of the transaction."""
    calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
    await connection.execute(  # the placeholders are ours, the values are bound
        f"select {calls}",
        [part for setting in settings.items() for part in setting],
    )
