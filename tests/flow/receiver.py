"""A webhook receiver on loopback: it verifies, remembers, and behaves as it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

Behaviour = Callable[[int], Awaitable[int]]
"""From the number of a message's request, 1 for the first, to the status that it gets."""


async def ok(_attempt: int) -> int:
    return 204


async def gone(_attempt: int) -> int:
    return 410


def hang_until(released: asyncio.Event) -> Behaviour:
    async def behave(_attempt: int) -> int:
        await released.wait()
        return 204

    return behave


def slow(seconds: float) -> Behaviour:
    async def behave(_attempt: int) -> int:
        await asyncio.sleep(seconds)
        return 204

    return behave


def fail_first(times: int = 1, status: int = 500) -> Behaviour:
    """Fails the first `times` requests of each message."""

    async def behave(attempt: int) -> int:
        return status if attempt <= times else 204

    return behave


@dataclass(frozen=True)
class Hit:
    """One verified request. `arrived_at`: unix seconds; `attempt`: how many this message has had, from 1."""

    message_id: str
    arrived_at: float
    attempt: int
    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)

    @cached_property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def seq(self) -> int:
        return int(self.event["seq"])

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


class Hook:
    """One endpoint's address at the receiver. Requests wait until its signing secret is known."""

    def __init__(self, url: str, behave: Behaviour) -> None:
        self.url = url
        self.behave = behave
        self.refuse: Callable[[Hit], bool] = lambda _hit: False
        """Which requests get a 500, whatever `behave` says."""
        self.hits: list[Hit] = []
        self.forged: list[str] = []
        """Why requests did not verify."""
        self.busy = 0
        """Requests that came and are not answered yet."""
        self._attempts: Counter[str] = Counter()
        self._verifier: asyncio.Future[Webhook] = asyncio.get_running_loop().create_future()

    def trust(self, secret: str) -> None:
        """`secret`: the `whsec_…` that `create_webhook_endpoint` answered."""
        self._verifier.set_result(Webhook(secret))

    @property
    def accepted(self) -> list[Hit]:
        """Requests that verified and were answered with success, in order of arrival."""
        return [hit for hit in self.hits if hit.accepted]

    @property
    def accepted_ids(self) -> set[str]:
        return {hit.message_id for hit in self.hits if hit.accepted}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        arrived_at = time.time()
        self.busy += 1
        try:
            return await self._take(request, arrived_at)
        finally:
            self.busy -= 1

    async def _take(self, request: web.BaseRequest, arrived_at: float) -> web.Response:
        body = await request.read()
        verifier = self._verifier.result() if self._verifier.done() else await asyncio.shield(self._verifier)
        try:
            verifier.verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as error:
            self.forged.append(str(error))
            return web.Response(status=401)
        message_id = request.headers["webhook-id"]
        self._attempts[message_id] += 1
        attempt = self._attempts[message_id]
        status = await self.behave(attempt)
        hit = Hit(message_id, arrived_at, attempt, status, body, request.headers)
        if self.refuse(hit):
            hit = replace(hit, status=500)
        self.hits.append(hit)
        return web.Response(status=hit.status)


class Receiver:
    """`async with Receiver() as receiver: hook = receiver.hook("shop")`."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}
        # a request counts whether or not its sender is still there: that is what makes a duplicate
        server = web.Server(self._answer, access_log=None)
        self._runner = web.ServerRunner(server, handler_cancellation=False, shutdown_timeout=0.2)
        self._base = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        host, port = self._runner.addresses[0][:2]
        self._base = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def hook(self, name: str, behave: Behaviour = ok) -> Hook:
        """A new address; `behave` may be changed at any time."""
        path = f"/{name}"
        if path in self._hooks:
            raise ValueError(f"the receiver has a hook {name!r} already")
        self._hooks[path] = Hook(self._base + path, behave)
        return self._hooks[path]

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        hook = self._hooks.get(request.path)
        return await hook.answer(request) if hook else web.Response(status=404)
