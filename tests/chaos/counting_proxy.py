"""Stands before the platform's gateway, counts the reads of a table that pass, and makes them slow."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from tests.stack.proxy import Proxy


class CountingProxy:
    def __init__(self, upstream: str, *, port: int, path: str, slow: float) -> None:
        """`slow`: seconds that each read of `path` waits, so that others come while it is under way."""
        self.url = f"http://127.0.0.1:{port}"
        self.reads = 0
        self._upstream, self._port, self._path, self._slow = upstream, port, path, slow

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._proxy = Proxy(self._session, self._upstream, name="counted")
        self._runner = web.ServerRunner(web.Server(self._forward))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == self._path:
            self.reads += 1
            await asyncio.sleep(self._slow)
        return await self._proxy.forward(
            request, request.path_qs, request.headers.get("Authorization", ""), {}
        )
