"""One connection: an exchange at a time, each with a deadline, and never used again after anything odd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple

from worker.webhooks.http.failure import Failure, read_error
from worker.webhooks.http.reply import BadReplyError, Reply

BODY_PATIENCE: Final = 2.0
"""Seconds to wait for the body once the status is known."""


class Key(NamedTuple):
    """Whom a connection speaks to: those with the same key may be used for one another."""

    scheme: str
    host: str
    port: int
    address: str
    """As it was checked; never looked up."""


class Writes:
    """What one round of the loop writes, written together at its end.

    Each write goes through the kernel's network stack, which leaves little of ours in the processor's caches:
    a write in between of each two requests' signing and counting made a delivery a quarter dearer.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Connection, bytes]] = []

    def add(self, connection: Connection, request: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append((connection, request))

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection, request in waiting:
            connection.write(request)


class Connection(asyncio.Protocol):
    """Made by `Connector`; `reply` is the last exchange's answer, `first_byte` the seconds until it began.

    Its timer is set once for many exchanges: it looks at the deadline of the day when it goes off.
    """

    __slots__ = (
        "_armed_for",
        "_loop",
        "_lost",
        "_timer",
        "_transport",
        "_until",
        "_waiter",
        "_writes",
        "_written_at",
        "closed",
        "first_byte",
        "key",
        "reply",
    )

    def __init__(
        self,
        key: Key,
        *,
        loop: asyncio.AbstractEventLoop,
        writes: Writes,
        lost: Callable[[Connection], None],
    ) -> None:
        self.key, self._loop, self._writes, self._lost = key, loop, writes, lost
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = self._until = self._written_at = 0.0
        self.closed = False
        self.first_byte: float | None = None
        self.reply = Reply()

    async def exchange(self, request: bytes, *, until: float) -> None:
        """Writes `request` and reads the answer into `reply`, until the loop's time `until`.

        Raises `Failure` if no whole head came. If it raises, or is cancelled, the connection is closed.
        """
        if self.closed:
            raise Failure("connect", "the connection was closed at once", again=True)
        self.reply.reset()
        self.first_byte = None
        self._written_at = 0.0
        self._waiter = waiter = self._loop.create_future()
        self._set_deadline(until)
        try:
            self._writes.add(self, request)
            await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    @property
    def clean(self) -> bool:
        """Whether the next exchange may use it: a whole answer to a whole request, and nothing after it."""
        return self.reply.reusable and not self.closed and self._transport.get_write_buffer_size() == 0

    def abort(self) -> None:
        """Closes at once. Nothing is owed to the peer, and TLS would wait for its goodbye."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def write(self, request: bytes) -> None:
        """Called by `Writes`: whoever waited for the exchange may have given up meanwhile."""
        if not self.closed:
            self._written_at = monotonic()
            self._transport.write(request)

    # -- called by the loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self.closed:
            self.abort()

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done() or not self._written_at:
            self.abort()  # nobody asked yet: what it says would be taken for the next answer
            return
        if self.first_byte is None:
            self.first_byte = monotonic() - self._written_at
        reply = self.reply
        known = reply.status
        try:
            reply.feed(data)
        except BadReplyError as error:
            waiter.set_exception(Failure("protocol", str(error)))
            return
        if reply.ended:
            waiter.set_result(None)
        elif reply.status and not known:
            self._set_deadline(min(self._until, self._loop.time() + BODY_PATIENCE))

    def eof_received(self) -> None:
        self._end(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end(exc)
        self._lost(self)
        self._transport = None
        self.reply.close()

    # -- the rest -------------------------------------------------------------------------------------------

    def _end(self, error: Exception | None) -> None:
        """Nothing more will come."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self.reply.status:
            self.reply.cut()
            waiter.set_result(None)
        elif isinstance(error, OSError):
            failure = read_error(error)
            failure.again = failure.again and self.first_byte is None
            waiter.set_exception(failure)
        else:
            words = "the connection was closed before the whole answer had come"
            waiter.set_exception(Failure("connect", words, again=self.first_byte is None))

    def _set_deadline(self, until: float) -> None:
        self._until = until
        if self._timer is not None:
            if self._armed_for <= until:
                return
            self._timer.cancel()
        self._armed_for = until
        self._timer = self._loop.call_at(until, self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._armed_for < self._until:
            self._set_deadline(self._until)
        elif self.reply.status:
            self.reply.cut()
            waiter.set_result(None)
        else:
            waiter.set_exception(Failure("timeout", "no answer in time"))
