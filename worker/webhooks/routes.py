"""What the SSRF wall said of a URL, kept for a while: where to connect to, whatever the name says meanwhile.

One question at a time for a URL, shared by everyone who waits for it; the wall is asked again after
`fresh_for`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from worker.engine.clock import Clock
from worker.wall import BlockedError, NoSuchHostError, ResolverError, Target
from worker.webhooks.http.connection import Key
from worker.webhooks.http.request import start_of_request

MAX_ROUTES: Final = 10_000
FRESH_FOR: Final = timedelta(seconds=30)


class Checker(Protocol):
    async def check(self, url: str) -> Target:
        """A target for `url`, or a `WallError`."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a URL leads, and how its request starts."""

    key: Key
    start: str


class Routes:
    """By URL; the least recently used ones go first. `left` hears of the keys that URLs moved away from."""

    def __init__(
        self, wall: Checker, *, clock: Clock, fresh_for: timedelta, left: Callable[[Key], None]
    ) -> None:
        self._wall, self._clock, self._left = wall, clock, left
        self._fresh_seconds = fresh_for.total_seconds()
        self._routes: OrderedDict[str, tuple[float, Route]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Route]] = {}

    def known(self, url: str) -> Route | None:
        """The route, if it is fresh."""
        entry = self._routes.get(url)
        if entry is None or self._clock.monotonic() >= entry[0]:
            return None
        self._routes.move_to_end(url)
        return entry[1]

    async def ask(self, url: str) -> Route:
        """The route by the wall's word of now; raises `WallError`."""
        # a cancelled caller must not take the answer from the others
        asking = self._asking.get(url)
        if asking is None:
            asking = self._asking[url] = asyncio.create_task(self._ask(url))
            asking.add_done_callback(lambda task: self._asked(url, task))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if asking.cancelled() and caller is not None and not caller.cancelling():
                raise ResolverError("the sender was closed during the look-up") from None
            raise

    def forget(self, url: str) -> None:
        """Asks the wall again next time: the address did not answer, the name may have moved."""
        if (entry := self._routes.get(url)) is not None:
            self._routes[url] = (float("-inf"), entry[1])

    async def close(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, url: str) -> Route:
        before = self._routes.get(url)
        try:
            target = await self._wall.check(url)
        except (BlockedError, NoSuchHostError):
            if before is not None:
                self._routes.pop(url, None)
                self._left(before[1].key)
            raise
        key = Key(target.scheme, target.host, target.port, str(target.address))
        if before is not None and before[1].key != key:
            self._left(before[1].key)
        route = Route(key, start_of_request(target.url))
        self._routes[url] = (self._clock.monotonic() + self._fresh_seconds, route)
        self._routes.move_to_end(url)
        while len(self._routes) > MAX_ROUTES:
            self._routes.popitem(last=False)
        return route

    def _asked(self, url: str, task: asyncio.Task[Route]) -> None:
        self._asking.pop(url, None)
        if not task.cancelled():
            task.exception()  # heard by the callers, if any is left
