"""A server of pictures on loopback, which misbehaves where it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Fault = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class PictureServer:
    """`pictures`: by path. `faults`: what the next requests of a path meet, the first first."""

    url: str = ""
    pictures: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, path: str, content: bytes, *faults: Fault) -> str:
        """Its URL."""
        self.pictures[path] = content
        self.faults[path] = list(faults)
        return f"{self.url}/{path}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.asked.append(path)
        content = self.pictures.get(path)
        if content is None:
            return web.Response(status=404)
        if faults := self.faults.get(path):
            return await faults.pop(0)(request, content)
        return web.Response(body=content)


@asynccontextmanager
async def picture_server() -> AsyncIterator[PictureServer]:
    server = PictureServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def unavailable(_: web.Request, __: bytes) -> web.StreamResponse:
    return web.Response(status=503, headers={"retry-after": "1"})


async def cut(request: web.Request, content: bytes) -> web.StreamResponse:
    """Half of it, and then the connection is gone."""
    answer = web.StreamResponse()
    answer.content_length = len(content)
    await answer.prepare(request)
    await answer.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.abort()
    return answer


async def elsewhere(request: web.Request, _: bytes) -> web.StreamResponse:
    return web.Response(status=302, headers={"location": str(request.url)})
