"""Servers on loopback that do byte by byte what a test says, and count who comes."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Serve = Callable[["Visit"], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(slots=True)
class Visit:
    """One connection that came, `number` from 1."""

    server: Server
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The next whole request; raises `IncompleteReadError` when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        request = head + await self.reader.readexactly(int(length[1]) if length else 0)
        self.server.requests.append(request)
        return request

    async def write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)  # draining alone lets nobody else run

    def reset(self) -> None:
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Waits until the other side closes."""
        while await self.reader.read(65536):
            pass


@dataclass(slots=True)
class Server:
    port: int = 0
    visits: int = 0
    requests: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection has ended."""

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/hook"


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Runs `serve` for every connection that comes."""
    server, tasks = Server(), set[asyncio.Task[None]]()

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.visits += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(Visit(server, server.visits, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the streams complain about handlers that are cancelled
        finally:
            tasks.discard(task)
            writer.transport.abort()
            server.left.set()

    listener = await asyncio.start_server(come, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*pieces: bytes, then_close: bool = False) -> Serve:
    """Answers every request with these bytes."""

    async def serve(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.write(*pieces)
            if then_close:
                return

    return serve
