"""The client of the database's functions: postgrest, on a transport that bounds every answer.

httpx' own pool makes about 250 calls a second, pyreqwest's transport 1,690: see
docs/decisions/0003-http-clients.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

import httpx
from postgrest import AsyncPostgrestClient
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport
from pyreqwest.exceptions import PyreqwestError

from worker.config import Settings
from worker.errors import BadAnswer, GatewayError
from worker.gateway import faults

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
CALL_TIMEOUT: Final = timedelta(seconds=30)
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

Watch = Callable[[str, float, GatewayError | None], None]
"""Hears of every call: the function's name, the seconds it took, and the error, if there was one."""


class SupabaseRpc:
    """Calls functions of the schema `worker` with the service key. Safe to share between tasks."""

    def __init__(
        self,
        settings: Settings,
        *,
        watch: Watch | None = None,
        timeout: timedelta = CALL_TIMEOUT,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        self._watch = watch
        self._http = httpx.AsyncClient(
            transport=_BoundedTransport(timeout=timeout, max_bytes=max_answer_bytes),
            timeout=None,  # noqa: S113 - the transport's own time-outs count, per phase and in total
            trust_env=False,
        )
        self._postgrest = AsyncPostgrestClient(
            settings.rest_url,
            schema="worker",
            # as supabase-py does it: a secret key in Authorization must equal apikey
            headers={"apikey": key, "Authorization": f"Bearer {key}"},
            http_client=self._http,
        )

    async def __aenter__(self) -> SupabaseRpc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, name: str, /, **params: Any) -> Any:
        """Calls `worker.<name>` with `params` as JSON and answers its JSON value.

        Raises `GatewayError`. After `Unreachable` the call may or may not have taken effect.
        """
        started = time.perf_counter()
        try:
            answer = await self._postgrest.rpc(name, params).execute()
        except (httpx.HTTPError, httpx.InvalidURL, PyreqwestError, OSError) as error:
            failed = faults.from_transport(error)
            self._seen(name, started, failed)
            raise failed from error
        except GatewayError as error:
            self._seen(name, started, error)
            raise
        self._seen(name, started, None)
        return answer.data

    def _seen(self, name: str, started: float, error: GatewayError | None) -> None:
        if self._watch is not None:
            self._watch(name, time.perf_counter() - started, error)


class _BoundedTransport(httpx.AsyncBaseTransport):
    """pyreqwest's transport with a bound on the answer; an answer of 400 and above raises its error."""

    def __init__(self, *, timeout: timedelta, max_bytes: int) -> None:
        builder = ClientBuilder().connect_timeout(CONNECT_TIMEOUT).timeout(timeout)
        self._inner = HttpxTransport(builder.follow_redirects(False).no_proxy().build())
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
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
        if response.status_code >= 400:
            raise faults.from_answer(response.status_code, bytes(body))
        if response.status_code >= 300:
            raise BadAnswer(f"{request.url.path} answered with a redirect", status=response.status_code)
        return httpx.Response(
            response.status_code, headers=_without_encoding(response.headers), content=bytes(body)
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _without_encoding(headers: httpx.Headers) -> list[tuple[str, str]]:
    # the body above is already decoded
    return [
        (k, v) for k, v in headers.multi_items() if k.lower() not in ("content-encoding", "content-length")
    ]
