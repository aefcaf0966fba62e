"""Real HTTP receivers on loopback: what good, slow, broken and hostile endpoints do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Behaviour = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: str
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(slots=True)
class Receiver:
    """Answers 204 unless `behaviour[path]` says otherwise; keeps what came in `received`."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    connections: set[object] = field(default_factory=set)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def ids(self, path: str | None = None) -> list[str]:
        return [r.id for r in self.received if path is None or r.path == path]

    def answer(self, path: str, *statuses: int, headers: dict[str, str] | None = None) -> None:
        """Answers with these statuses one after the other; the last one stays."""
        left = list(statuses)

        async def respond(_: web.BaseRequest) -> web.Response:
            return web.Response(status=left.pop(0) if len(left) > 1 else left[0], headers=headers)

        self.behaviour[path] = respond

    def hang(self, path: str) -> None:
        """Answers nothing until `let_go` is set."""

        async def respond(_: web.BaseRequest) -> web.Response:
            await self.let_go.wait()
            return web.Response(status=204)

        self.behaviour[path] = respond

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = (await request.read()).decode()
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.received.append(Received(request.path, headers, body))
        self.connections.add(request.transport)
        respond = self.behaviour.get(request.path)
        return web.Response(status=204) if respond is None else await respond(request)


@asynccontextmanager
async def receiving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = web.Server(receiver.handle)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        await runner.cleanup()
