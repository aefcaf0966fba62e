"""The hosts that the contract is held against, each with what a test needs to look at it from outside."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.images.hosts.cloudinary_double import CloudinaryDouble, cloudinary_double
from tests.people import authorities
from worker.images.hosts import ImageHost
from worker.images.hosts.account import Account
from worker.images.hosts.cloudinary import CloudinaryHost, cloudinary_host
from worker.images.hosts.local import LocalHost
from worker.images.hosts.serving import image_routes

WORLDS = ("local", "cloudinary double", "cloudinary")
REAL = "CLOUDINARY_URL"


@dataclass(slots=True)
class World:
    """`exact`: whether what is fetched are the very bytes stored, as nobody recodes them."""

    host: ImageHost
    http: httpx.AsyncClient
    exact: bool = True
    stored: list[str] = field(default_factory=list)
    double: CloudinaryDouble | None = None

    async def get(self, url: str) -> httpx.Response:
        return await self.http.get(url)

    async def everything(self, *, page: int) -> list[str]:
        """What the listing says, page by page."""
        found: list[str] = []
        after: str | None = None
        while True:
            answer = await self.host.listing(after, page)
            assert len(answer.public_ids) <= page
            found += answer.public_ids
            if (after := answer.after) is None:
                return found


@asynccontextmanager
async def open_world(name: str, directory: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=30, verify=authorities())
        )
        if name == "local":
            yield World(await stack.enter_async_context(local_host(directory)), http)
        elif name == "cloudinary double":
            double = await stack.enter_async_context(cloudinary_double())
            host = await stack.enter_async_context(host_at(double.url))
            yield World(host, http, double=double)
        else:
            if (url := os.environ.get(REAL)) is None:
                pytest.skip(f"{REAL} is not set: the real service is not asked")
            world = World(await stack.enter_async_context(host_at(url)), http, exact=False)
            yield world
            for public_id in await world.everything(page=100):
                await world.host.delete(public_id)


@asynccontextmanager
async def local_host(directory: Path) -> AsyncIterator[LocalHost]:
    """A local host and the server of its files."""
    async with serving(lambda: image_routes(directory)) as origin:
        yield LocalHost(directory, base_url=f"{origin}/images")


@asynccontextmanager
async def serving(routes: Callable[[], list[web.RouteDef]]) -> AsyncIterator[str]:
    """Routes on a free port, on an application as small as the worker's own."""
    app = web.Application(client_max_size=1024)
    app.add_routes(routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def host_at(url: str) -> AsyncIterator[CloudinaryHost]:
    """A host of its own within the account: nobody else's pictures are seen or touched."""
    async with cloudinary_host(Account.from_url(SecretStr(url)), prefix=f"contract-{uuid4().hex}/") as host:
        yield host
