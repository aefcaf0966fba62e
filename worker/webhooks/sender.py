"""One attempt: a signed POST to the address that the wall allowed, and a bounded look at the answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import Final

from worker.engine.clock import Clock
from worker.gateway.lanes import Timings
from worker.wall import BlockedError, NoSuchHostError, ResolverError
from worker.webhooks.answer import Answer, Trouble
from worker.webhooks.http.connect import Connector
from worker.webhooks.http.connection import Connection
from worker.webhooks.http.failure import Failure
from worker.webhooks.http.pool import MAX_OPEN, Pool
from worker.webhooks.http.proxy import Proxy
from worker.webhooks.http.request import BadHeadersError, write_request
from worker.webhooks.routes import FRESH_FOR, Checker, Route, Routes
from worker.webhooks.schedule import parse_retry_after

RETRY_WITHIN: Final = 1.0
"""Seconds: what fails later than that after it began is not tried again at once."""


class Sender:
    """Sends attempts; keeps connections between them. Never raises for anything the network does.

    `tls`: what certificates are verified with, the machine's roots by default. `close` ends it for good.
    """

    def __init__(
        self,
        wall: Checker,
        *,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        max_open: int = MAX_OPEN,
    ) -> None:
        self._clock = clock
        self.pool = Pool(Connector(tls=tls, proxy=proxy), max_open=max_open)
        self._routes = Routes(wall, clock=clock, fresh_for=FRESH_FOR, left=self.pool.evict)

    async def send(
        self, url: str, *, headers: dict[str, str], body: bytes, within: timedelta, probe: bool = False
    ) -> Answer:
        """POSTs `body`; everything, the look-up included, ends within `within`.

        A status line in time counts as the answer: a body that drips or does not end is cut, and its
        connection closed. What fails at once, before a byte came back, is tried once more within the same
        attempt if the receiver cannot have answered it; not a `probe`, which knocks once.
        """
        watch = _Watch(self._clock.monotonic())
        until = asyncio.get_running_loop().time() + within.total_seconds()
        try:
            route = self._routes.known(url) or await self._look_up(url, watch, until)
            connection = await self._exchange(
                route, write_request(route.start, headers, body), watch=watch, until=until, again=not probe
            )
        except (BlockedError, BadHeadersError) as error:
            return self._failed(watch, "blocked", str(error))
        except NoSuchHostError as error:
            return self._failed(watch, "no_such_host", str(error))
        except ResolverError as error:
            return self._failed(watch, "resolver", str(error))
        except Failure as error:
            self._routes.forget(url)
            return self._failed(watch, error.trouble, str(error))
        answer = self._answer(watch, connection)
        self.pool.give(connection)
        return answer

    async def close(self) -> None:
        """Closes all connections; what is under way fails."""
        self.pool.close()
        await self._routes.close()

    async def _look_up(self, url: str, watch: _Watch, until: float) -> Route:
        try:
            async with asyncio.timeout_at(until):
                return await self._routes.ask(url)
        except TimeoutError:
            raise ResolverError("the look-up took all the time there was") from None
        finally:
            watch.dns = self._clock.monotonic() - watch.started

    async def _exchange(
        self, route: Route, request: bytes, *, watch: _Watch, until: float, again: bool
    ) -> Connection:
        """Raises `Failure`. The request is written twice at most: the second time after a kept connection
        turned out to be closed, which does not count as the one retry."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        kept = self.pool.take(route.key)
        if kept is not None:
            try:
                watch.connection = kept
                await kept.exchange(request, until=until)
                return kept
            except Failure as failure:
                if not failure.again or loop.time() - began > RETRY_WITHIN:
                    raise
                watch.connection = None
        try:
            fresh = await self._open(route, watch, until)
        except Failure as failure:
            if not (again and failure.again) or loop.time() - began > RETRY_WITHIN:
                raise
            fresh = await self._open(route, watch, until)
        watch.connection = fresh
        await fresh.exchange(request, until=until)
        return fresh

    async def _open(self, route: Route, watch: _Watch, until: float) -> Connection:
        began = self._clock.monotonic()
        connection = await self.pool.open(route.key, until=until)
        watch.connect = self._clock.monotonic() - began
        return connection

    def _answer(self, watch: _Watch, connection: Connection) -> Answer:
        reply = connection.reply
        again = reply.retry_after
        return Answer(
            duration=self._since(watch),
            status=reply.status,
            head=_shown(reply.kept),
            retry_after=None
            if again is None
            else parse_retry_after(again.decode("latin-1"), now=self._clock.now()),
            timings=watch.read(),
        )

    def _failed(self, watch: _Watch, trouble: Trouble, detail: str) -> Answer:
        return Answer(duration=self._since(watch), trouble=trouble, detail=detail[:500], timings=watch.read())

    def _since(self, watch: _Watch) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - watch.started)


class _Watch:
    """The times of one attempt, in seconds, as they become known."""

    __slots__ = ("connect", "connection", "dns", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.dns: float | None = None
        self.connect: float | None = None
        self.connection: Connection | None = None

    def read(self) -> Timings:
        first_byte = None if self.connection is None else self.connection.first_byte
        return Timings(self.dns, self.connect, first_byte)


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    if text.isprintable():
        return text
    # the database's text holds no NUL, and nobody wants control characters in a log
    return "".join([c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text])
