"""New connections, to the very address that the wall checked: directly or through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from worker.tls import tls_context
from worker.webhooks.http.connection import Connection, Key, Writes
from worker.webhooks.http.failure import read_error
from worker.webhooks.http.proxy import Proxy

CONNECT_TIMEOUT: Final = timedelta(seconds=10)


class Connector:
    """Opens connections. `tls`: what to verify with, the machine's roots by default."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> None:
        self._context, self._proxy = tls, proxy
        self._writes = Writes()

    async def open(self, key: Key, *, until: float, lost: Callable[[Connection], None]) -> Connection:
        """A connection, until the loop's time `until` and within 10 s. Raises `Failure`."""
        loop = asyncio.get_running_loop()
        connection = Connection(key, loop=loop, writes=self._writes, lost=lost)
        latest = min(until, loop.time() + CONNECT_TIMEOUT.total_seconds())
        try:
            if self._proxy is None:
                async with asyncio.timeout_at(latest):
                    await self._directly(key, connection)
            else:
                transport = await self._proxy.tunnel(key.address, key.port, until=latest)
                async with asyncio.timeout_at(latest):
                    await self._inside(transport, key, connection)
        except BaseException as error:
            connection.abort()
            if isinstance(error, OSError):
                raise read_error(error) from error
            raise
        return connection

    async def _directly(self, key: Key, connection: Connection) -> None:
        context = self._tls(key)
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            key.address,
            key.port,
            ssl=context,
            server_hostname=None if context is None else key.host,
        )

    async def _inside(self, transport: asyncio.Transport, key: Key, connection: Connection) -> None:
        context = self._tls(key)
        try:
            if context is None:
                transport.set_protocol(connection)
                connection.connection_made(transport)
                return
            loop = asyncio.get_running_loop()
            secured = await loop.start_tls(transport, connection, context, server_hostname=key.host)
            if secured is None:
                raise ConnectionResetError
            connection.connection_made(secured)
        except BaseException:
            transport.abort()
            raise

    def _tls(self, key: Key) -> ssl.SSLContext | None:
        if key.scheme != "https":
            return None
        if self._context is None:
            self._context = tls_context()
        return self._context
