"""The HTTP transport to Supabase: pyreqwest's, with a bound on every answer and no cancellation lost.

httpx' own pool makes about 250 calls a second, pyreqwest's transport 1,690: see
docs/decisions/0003-http-clients.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import httpx
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport

from worker.errors import BadAnswer
from worker.gateway import faults

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class BoundedTransport(httpx.AsyncBaseTransport):
    """Answers with whole bodies of at most `max_bytes`; 400 and above raise their `GatewayError`."""

    def __init__(
        self,
        *,
        timeout: timedelta,
        max_bytes: int = MAX_ANSWER_BYTES,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        builder = ClientBuilder().connect_timeout(CONNECT_TIMEOUT).timeout(timeout)
        self._inner = inner or HttpxTransport(builder.follow_redirects(False).no_proxy().build())
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _heeding_cancellation():
            response, body = await self._whole(request)
        if response.status_code >= 400:
            raise faults.from_answer(response.status_code, body)
        if response.status_code >= 300:
            raise BadAnswer(f"{request.url.path} answered with a redirect", status=response.status_code)
        return httpx.Response(response.status_code, headers=_without_encoding(response.headers), content=body)

    async def _whole(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        response = await self._inner.handle_async_request(request)
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_bytes:
                    raise BadAnswer(
                        f"{request.url.path} answered more than {self._max_bytes} bytes",
                        status=response.status_code,
                    )
        finally:
            await response.aclose()
        return response, bytes(body)

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """Raises `CancelledError` for a cancellation that came inside and was swallowed there.

    pyreqwest 0.15 loses one that comes in the moment of its answer (4 of 2,056 tries); whoever then waits
    for more work waits for ever. One from before is not ours: cleaning up after it may call us.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def _without_encoding(headers: httpx.Headers) -> list[tuple[str, str]]:
    # the body is already decoded
    return [
        (k, v) for k, v in headers.multi_items() if k.lower() not in ("content-encoding", "content-length")
    ]
