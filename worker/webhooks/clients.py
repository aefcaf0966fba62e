"""HTTP clients that are pinned to the address which the SSRF wall checked.

A client resolves its one host to its one address and knows no other, so what the name says later does not
matter. Clients are shared by everyone who sends there, kept while they are in use, and bounded in number;
the wall is asked again after `fresh_for`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import Url

from worker.addresses import Address
from worker.engine.clock import Clock
from worker.wall import BlockedError, Target

MAX_ROUTES: Final = 10_000
MAX_CLIENTS: Final = 1_000
FRESH_FOR: Final = timedelta(seconds=30)
CONNECT_TIMEOUT: Final = timedelta(seconds=10)
USER_AGENT: Final = "pms-webhooks/1"


class Checker(Protocol):
    async def check(self, url: str) -> Target:
        """A target for `url`, or a `WallError`."""


@dataclass(frozen=True, slots=True)
class Route:
    """The client for a URL, and the URL in the form to request."""

    url: str
    client: Client


class PinnedClients:
    """Routes by URL, clients by (scheme, host, address); least recently used ones go first."""

    def __init__(self, wall: Checker, *, clock: Clock, fresh_for: timedelta = FRESH_FOR) -> None:
        self._wall, self._clock = wall, clock
        self._fresh_seconds = fresh_for.total_seconds()
        self._routes: OrderedDict[str, tuple[float, Route]] = OrderedDict()
        self._clients: OrderedDict[tuple[str, str, Address], Client] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Route]] = {}

    async def route(self, url: str) -> Route:
        """The route for `url`; raises `WallError`."""
        known = self._routes.get(url)
        if known is not None and self._clock.monotonic() < known[0]:
            self._routes.move_to_end(url)
            return known[1]
        # one question at a time for a URL; a cancelled caller must not take the answer from the others
        asking = self._asking.get(url)
        if asking is None:
            asking = self._asking[url] = asyncio.create_task(self._ask(url))
            asking.add_done_callback(lambda task: self._asked(url, task))
        return await asyncio.shield(asking)

    def forget(self, url: str) -> None:
        """Asks the wall again next time: the address did not answer, the name may have moved."""
        self._routes.pop(url, None)

    async def close(self) -> None:
        self._routes.clear()
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def _ask(self, url: str) -> Route:
        target = await self._wall.check(url)
        if _host_by_the_client(target.url) != target.host:
            # a host that the client reads in another way would be resolved anew, unchecked
            raise BlockedError(f"{target.host}: the host name is ambiguous")
        route = Route(target.url, self._client(target))
        self._routes[url] = (self._clock.monotonic() + self._fresh_seconds, route)
        self._routes.move_to_end(url)
        while len(self._routes) > MAX_ROUTES:
            self._routes.popitem(last=False)
        return route

    def _asked(self, url: str, task: asyncio.Task[Route]) -> None:
        self._asking.pop(url, None)
        if not task.cancelled():
            task.exception()  # heard by the callers, if any is left

    def _client(self, target: Target) -> Client:
        key = (target.scheme, target.host, target.address)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _build(target)
        self._clients.move_to_end(key)
        while len(self._clients) > MAX_CLIENTS:
            # requests under way hold their client; it closes when the last one is done
            self._clients.popitem(last=False)
        return client


def _host_by_the_client(url: str) -> str | None:
    try:
        return (Url(url).host_str or "").strip("[]")
    except ValueError:
        return None


def _build(target: Target) -> Client:
    return (
        ClientBuilder()
        .resolve(target.host, str(target.address), target.port)
        .https_only(target.scheme == "https")
        .http1_only()
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(timedelta(seconds=30))
        .pool_max_idle_per_host(64)
        .build()
    )
