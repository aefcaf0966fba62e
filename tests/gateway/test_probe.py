"""Doctor's question for the exposed schemas, to servers that do not end their answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tests.gateway.conftest import settings_for
from worker.config import Settings
from worker.errors import Unreachable
from worker.gateway.probe import exposed_schemas

Serve = Callable[[bytes, asyncio.Event], Awaitable[Settings]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(chunk, more)`: a Supabase that answers `chunk` again and again while `more` is set."""
    runners: list[web.AppRunner] = []

    async def start(chunk: bytes, more: asyncio.Event) -> Settings:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=406)
            await response.prepare(request)
            try:
                while True:
                    await response.write(chunk)
                    await more.wait()
            except ConnectionError:
                return response

        app = web.Application()
        app.router.add_get("/rest/v1/", answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return settings_for(f"http://127.0.0.1:{runner.addresses[0][1]}", "sb_secret_x")

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_an_answer_without_end_is_read_no_further_than_it_can_matter(serve: Serve) -> None:
    more = asyncio.Event()
    more.set()
    assert await exposed_schemas(await serve(b"x" * 65_536, more)) == frozenset()


async def test_an_answer_that_stops_half_way_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.gateway.probe._TIMEOUT", 0.1)
    with pytest.raises(Unreachable, match="Timeout"):
        await exposed_schemas(await serve(b"x", asyncio.Event()))
