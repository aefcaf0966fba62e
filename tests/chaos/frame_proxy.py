"""A way to Realtime on which frames are lost, doubled and come in another order."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import WSMsgType, web


class FrameProxy:
    """Passes `/realtime/v1/websocket` on to `upstream`; of the server's frames each may suffer."""

    def __init__(self, upstream: str, *, port: int, chance: random.Random, harm: float = 0.1) -> None:
        """`harm`: the share of frames that is lost, that is doubled, and that changes places."""
        self.url = f"http://127.0.0.1:{port}/realtime/v1"
        self.lost = self.doubled = self.reordered = 0
        self._upstream, self._port, self._chance, self._harm = upstream, port, chance, harm

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_get("/realtime/v1/websocket", self._tunnel)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _tunnel(self, request: web.Request) -> web.StreamResponse:
        url = f"{self._upstream}/realtime/v1/websocket?{request.query_string}"
        try:
            server = await self._session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=1))
        except aiohttp.ClientError:
            return web.Response(status=503)
        client = web.WebSocketResponse()
        await client.prepare(request)
        ways = [
            asyncio.create_task(self._there(client, server)),
            asyncio.create_task(self._back(server, client)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        await server.close()
        await client.close()
        return client

    async def _there(self, client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in client:
            if frame.type is WSMsgType.TEXT:
                await server.send_str(frame.data)

    async def _back(self, server: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse) -> None:
        held: str | None = None
        async for frame in server:
            if frame.type is not WSMsgType.TEXT:
                continue
            dice = self._chance.random() / self._harm
            if dice < 1:
                self.lost += 1
                continue
            if dice < 2 and held is None:
                self.reordered += 1
                held = frame.data
                continue
            await client.send_str(frame.data)
            if dice < 3:
                self.doubled += 1
                await client.send_str(frame.data)
            if held is not None:
                await client.send_str(held)
                held = None
