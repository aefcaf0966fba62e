"""Stands before the adapter and spoils what it answers: the faults that a fuzzer has to see."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx
from aiohttp import web

Spoil = Callable[[httpx.Response], httpx.Response]
"""The adapter's answer, and what is to be told instead."""


class Spoiler:
    """Forwards requests exactly as they come, since they are signed."""

    def __init__(self, upstream: str, spoil: Spoil) -> None:
        self.spoilt = 0
        self._upstream, self._spoil = upstream, spoil

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(timeout=30)
        self._runner = web.ServerRunner(web.Server(self._forward))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.aclose()

    async def _forward(self, request: web.BaseRequest) -> web.Response:
        url = httpx.URL(self._upstream).copy_with(raw_path=request.raw_path.encode())
        headers = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
        true = await self._http.request(request.method, url, headers=headers, content=await request.read())
        told = self._spoil(true)
        self.spoilt += told is not true
        kept = [(name, value) for name, value in told.headers.items() if name not in _OF_THE_CONNECTION]
        return web.Response(status=told.status_code, headers=kept, body=told.content)


_OF_THE_CONNECTION = {"connection", "content-encoding", "content-length", "transfer-encoding", "date"}
