"""One attempt: a signed POST to the address that the wall allowed, and a bounded look at the answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from time import monotonic
from typing import Final

from worker.engine.clock import Clock
from worker.engine.retry import parse_retry_after
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
        watch = _Watch(monotonic())
        until = watch.started + within.total_seconds()
        try:
            route = self._routes.known(url) or await self._look_up(url, watch, until)
            request = write_request(route.start, headers, body)
            began = monotonic()
            watch.connection = connection = self.pool.take(route.key)
            if connection is not None:
                try:
                    await connection.exchange(request, until=until)
                except Failure as failure:
                    if not failure.again or monotonic() - began > RETRY_WITHIN:
                        raise
                    connection = watch.connection = None
            if connection is None:
                connection = await self._open(route, watch, until, began=began, again=not probe)
                await connection.exchange(request, until=until)
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
            watch.dns = monotonic() - watch.started

    async def _open(
        self, route: Route, watch: _Watch, until: float, *, began: float, again: bool
    ) -> Connection:
        """A new connection, made once more `again` if that fails at once. Raises `Failure`."""
        try:
            connection = await self._connect(route, watch, until)
        except Failure as failure:
            if not (again and failure.again) or monotonic() - began > RETRY_WITHIN:
                raise
            connection = await self._connect(route, watch, until)
        watch.connection = connection
        return connection

    async def _connect(self, route: Route, watch: _Watch, until: float) -> Connection:
        began = monotonic()
        connection = await self.pool.open(route.key, until=until)
        watch.connect = monotonic() - began
        return connection

    def _answer(self, watch: _Watch, connection: Connection) -> Answer:
        reply = connection.reply
        again = reply.retry_after
        return Answer(
            monotonic() - watch.started,
            reply.status,
            _shown(reply.kept) if reply.kept else "",
            None if again is None else parse_retry_after(again.decode("latin-1"), now=self._clock.now()),
            timings=watch.read(),
        )

    def _failed(self, watch: _Watch, trouble: Trouble, detail: str) -> Answer:
        return Answer(monotonic() - watch.started, trouble=trouble, detail=detail[:500], timings=watch.read())


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
