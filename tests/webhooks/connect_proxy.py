"""A real CONNECT proxy on loopback, which can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.webhooks.scripted import Server, Visit, serving


@dataclass(slots=True)
class ConnectProxy:
    """`answer`: what it says instead of opening a tunnel; `hang`: it says nothing at all."""

    server: Server
    answer: bytes | None = None
    hang: bool = False
    asked: list[str] = field(default_factory=list)
    """The heads of all requests."""

    def url(self, credentials: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{credentials}{host}:{self.server.port}"

    async def serve(self, visit: Visit) -> None:
        head = (await visit.reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        if self.hang:
            await visit.gone()
            return
        if self.answer is not None:
            await visit.write(self.answer)
            return
        method, target, _ = head.split(" ", 2)
        assert method == "CONNECT"
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        await visit.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        try:
            await asyncio.gather(_pump(visit.reader, writer), _pump(reader, visit.writer))
        finally:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def proxying() -> AsyncIterator[ConnectProxy]:
    proxy: ConnectProxy | None = None

    async def serve(visit: Visit) -> None:
        assert proxy is not None
        await proxy.serve(visit)

    async with serving(serve) as server:
        proxy = ConnectProxy(server)
        yield proxy
