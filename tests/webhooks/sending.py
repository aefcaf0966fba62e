"""What the tests of the sender share: one behind a wall of its own, and servers that write raw bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import ClassVar

from tests.eventually import eventually
from worker.engine.clock import SystemClock
from worker.wall import Wall
from worker.webhooks.answer import Answer
from worker.webhooks.http.pool import MAX_OPEN
from worker.webhooks.http.proxy import Proxy
from worker.webhooks.sender import Sender

SECOND = timedelta(seconds=1)
SHORT = timedelta(milliseconds=300)


class Resolver:
    """Answers in turn; the last answer stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock(SystemClock):
    """Runs as the machine's, with leaps forward."""

    leapt = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.leapt


def took(answer: Answer) -> timedelta:
    return timedelta(seconds=answer.seconds)


class Bench:
    """A sender behind a wall that lets 127.0.0.1 pass, and no other loopback address.

    Whoever makes one uses the fixture `all_closed` as well.
    """

    made: ClassVar[list[Bench]] = []

    def __init__(
        self,
        *answers: Sequence[str] | Exception,
        allow: str = "127.0.0.1/32",
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        max_open: int = MAX_OPEN,
    ) -> None:
        self.made.append(self)
        self.clock = Clock()
        self.resolver = Resolver(*answers or (["127.0.0.1"],))
        self.wall = Wall(self.resolver, allow=[ip_network(allow)])
        self.sender = Sender(self.wall, clock=self.clock, tls=tls, proxy=proxy, max_open=max_open)

    async def send(self, url: str, *, within: timedelta = 5 * SECOND, body: str = "{}") -> Answer:
        return await self.sender.send(url, headers={"webhook-id": "evt_1"}, body=body.encode(), within=within)


def _nothing_open(sender: Sender) -> bool:
    return sender.pool.open_count == 0


async def close_all() -> None:
    """Closes every sender that was made, and sees that nothing of it is left."""
    while Bench.made:
        sender = Bench.made.pop().sender
        await sender.close()
        await eventually(partial(_nothing_open, sender))


@asynccontextmanager
async def raw_server(respond: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[int]:
    """A server that answers each request with whatever `respond` writes; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            respond(writer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
