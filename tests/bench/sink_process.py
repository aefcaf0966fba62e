"""The sink as a process of its own, and what it saw."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from standardwebhooks import Webhook

from tests.eventually import eventually
from tests.stack.platform import Platform
from tests.stack.process import Child, answers


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. `at`: unix seconds; `checksum`: of the body."""

    path: str
    message_id: str
    at: float
    checksum: int


@dataclass(frozen=True, slots=True)
class Counts:
    """`distinct`: pairs of path and webhook-id; the times are unix seconds, None before the first request."""

    requests: int
    distinct: int
    first_at: float | None
    last_at: float | None

    @property
    def seconds(self) -> float:
        """From the first request to the last."""
        assert self.first_at is not None, "nothing arrived"
        assert self.last_at is not None
        return self.last_at - self.first_at


class SinkProcess:
    """`async with SinkProcess(platform) as sink: … sink.url`. Ends with the platform at the latest."""

    def __init__(self, platform: Platform, port: int | None = None) -> None:
        self.port = port = port or platform.ports.take()
        self._arrivals: list[Arrival] = []
        self.url = f"http://127.0.0.1:{port}"
        self._child = Child(
            f"sink-{port}",
            [sys.executable, "-m", "tests.bench.sink", str(port)],
            env={"PATH": "", "PYTHONHASHSEED": "0"},
            log=platform.run / f"sink-{port}.log",
            guard=platform.guard,
            ready=lambda: answers(f"{self.url}/counts"),
        )
        platform.adopt(self._child.name, self._child)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._child.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._child.start)

    async def counts(self) -> Counts:
        return Counts(**json.loads(await self._ask("/counts")))

    async def arrivals(self) -> list[Arrival]:
        """All requests since the start or `forget`, in order; only new ones are fetched."""
        told = (await self._ask(f"/arrivals/{len(self._arrivals)}")).decode()
        for path, key, at, checksum in (line.split(" ") for line in told.splitlines()):
            self._arrivals.append(Arrival(path, key, float(at), int(checksum)))
        return list(self._arrivals)

    async def forget(self) -> None:
        await self._ask("/forget", method="POST")
        self._arrivals.clear()

    async def break_down(self) -> None:
        """From now on paths under `/hang/` hang."""
        await self._ask("/break", method="POST")

    async def mend(self) -> None:
        """Answers what hangs."""
        await self._ask("/mend", method="POST")

    async def verify_last(self, secret: str) -> None:
        """Raises `WebhookVerificationError` unless the last request is signed with `secret`, just now."""
        last = json.loads(await self._ask("/last"))
        Webhook(secret).verify(last["body"], last["headers"])

    async def last_body(self) -> str:
        return str(json.loads(await self._ask("/last"))["body"])

    async def until(self, distinct: int, deadline: float) -> Counts:
        """Until that many different messages have come."""

        async def came() -> Counts:
            counts = await self.counts()
            assert counts.distinct >= distinct, f"{counts.distinct} of {distinct} came"
            return counts

        return await eventually(came, deadline, interval=0.25)

    async def _ask(self, path: str, method: str = "GET") -> bytes:
        def ask() -> bytes:
            request = urllib.request.Request(self.url + path, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())

        return await asyncio.to_thread(ask)
