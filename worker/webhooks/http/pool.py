"""Connections between their exchanges: kept for a while, bounded in number, the longest idle close first."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from worker.webhooks.http.connect import Connector
from worker.webhooks.http.connection import Connection, Key
from worker.webhooks.http.failure import Failure

IDLE_SECONDS: Final = 30.0
MAX_IDLE_PER_KEY: Final = 64
MAX_OPEN: Final = 800
"""Below the usual bound of 1,024 files: above it, every new connection closes an idle one first."""


class Pool:
    """Hands out connections by `Key`: the last one that came back goes out first."""

    def __init__(
        self, connector: Connector, *, max_open: int = MAX_OPEN, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._connector, self._max_open, self._idle_seconds = connector, max_open, idle_seconds
        self._open: set[Connection] = set()
        # since when, in that order
        self._idle: dict[Connection, float] = {}
        self._kept: dict[Key, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    def take(self, key: Key) -> Connection | None:
        """A kept connection, if there is one that still looks alive."""
        kept = self._kept.get(key)
        while kept:
            connection = kept.pop()
            if not kept:
                del self._kept[key]
            since = self._idle.pop(connection)
            if not connection.closed and monotonic() - since < self._idle_seconds:
                return connection
            connection.abort()
        return None

    async def open(self, key: Key, *, until: float) -> Connection:
        """A new one. Raises `Failure`."""
        self._raise_if_closed()
        while len(self._open) >= self._max_open and self._idle:
            self._close(next(iter(self._idle)))
        try:
            connection = await self._connector.open(key, until=until, lost=self._lost)
        except Failure as failure:
            if failure.trouble == "local":
                self._close_idle()  # they may hold what we lack: files, ports, memory
            raise
        if self._closed or connection.closed:
            connection.abort()
            self._raise_if_closed()
            raise Failure("connect", "the connection was closed before the request", again=True)
        self._open.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """Takes it back after an exchange: keeps it, or closes it."""
        if self._closed or not connection.clean:
            connection.abort()
            return
        kept = self._kept.get(connection.key)
        if kept is None:
            self._kept[connection.key] = [connection]
        else:
            kept.append(connection)
            if len(kept) > MAX_IDLE_PER_KEY:
                self._close(kept[0])
        self._idle[connection] = monotonic()
        if len(self._open) > self._max_open:
            self._close(next(iter(self._idle)))
        if self._sweep is None:
            self._sweep_later()

    def evict(self, key: Key) -> None:
        """Closes what is kept for `key`."""
        for connection in list(self._kept.get(key, ())):
            self._close(connection)

    def close(self) -> None:
        """Closes every connection, those in use as well, and opens no more."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.abort()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise Failure("local", "the sender is closed")

    def _close_idle(self) -> None:
        for connection in list(self._idle):
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._drop(connection)
        self._open.discard(connection)  # its end comes a moment later, and must not be waited for in a loop
        connection.abort()

    def _drop(self, connection: Connection) -> None:
        """It is idle no longer."""
        if self._idle.pop(connection, None) is None:
            return
        kept = self._kept[connection.key]
        kept.remove(connection)
        if not kept:
            del self._kept[connection.key]

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._drop(connection)

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds / 2, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        overdue = monotonic() - self._idle_seconds
        for connection, since in list(self._idle.items()):
            if since > overdue:
                break
            self._close(connection)
        if self._idle:
            self._sweep_later()
