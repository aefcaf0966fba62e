"""One signed call to the edge adapter: tried again where that is harmless, and for a bounded time.

A read may be repeated; a write may because it carries an Idempotency-Key, made here and the same for all its
tries. Each try has a nonce and a timestamp of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from msgspec import DecodeError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from worker.engine.retry import parse_retry_after
from worker.gateway.edge import signature
from worker.gateway.edge.errors import EdgeAnswerUnreadable, EdgeError, EdgeUnreachable, from_answer
from worker.gateway.edge.signature import Credentials
from worker.gateway.exact import decoded, encoded

VERSION: Final = "/pms/v1"
_READS: Final = frozenset({"GET", "HEAD"})
_MOST_AHEAD: Final = 24 * 3600.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class EdgeRules:
    """How long it waits, and for how much."""

    connect: timedelta = timedelta(seconds=5)
    one_try: timedelta = timedelta(seconds=75)
    """From the first byte sent to the last one heard: longer than the adapter waits for the database."""
    tries: int = 5
    first_pause: timedelta = timedelta(milliseconds=250)
    longest_pause: timedelta = timedelta(seconds=15)
    longest_retry_after: timedelta = timedelta(seconds=90)
    """Who is told to wait longer hears of it at once, instead."""
    answer_bytes: int = 16 * 1024 * 1024
    connections: int = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """`data`: its JSON, numbers exact (`int` and `Decimal`); None where there is no body (304)."""

    status: int
    data: Any
    headers: Mapping[str, str]

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")

    @property
    def seq(self) -> str | None:
        """X-Seq: the place in the tenant's log that this answer is at least as new as."""
        return self.headers.get("x-seq")


class EdgeCaller:
    """Signs and sends. Safe to share between tasks; `now` is in unix seconds."""

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        rules: EdgeRules,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base = httpx.URL(base_url.rstrip("/"))
        if self._base.scheme not in ("http", "https") or not self._base.host or self._base.query:
            raise ValueError(
                "base_url is what stands before /pms/: https://<project>.supabase.co/functions/v1/api"
            )
        self._credentials, self._rules, self._now, self._sleep = credentials, rules, now, sleep
        self._ahead = 0.0
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(rules.one_try.total_seconds(), connect=rules.connect.total_seconds()),
            limits=httpx.Limits(max_connections=rules.connections),
            follow_redirects=False,  # a signature is for one address
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """`path` begins behind the version. Raises `EdgeError`, after all tries."""
        content = b"" if body is None else encoded(body)
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if method not in _READS:
            sent["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        url = self._base.copy_with(path=self._base.path.rstrip("/") + VERSION, query=None)
        url = httpx.URL(f"{url}{path}", params=query or None)
        request = _Request(
            method, url, url.raw_path.decode()[len(self._base.raw_path.decode().rstrip("/")) :]
        )
        return await self._patiently(lambda: self._with_right_clock(request, content, sent))

    async def _patiently(self, one_try: Callable[[], Awaitable[Answer]]) -> Answer:
        rules = self._rules
        backing_off = wait_random_exponential(
            multiplier=rules.first_pause.total_seconds(), max=rules.longest_pause.total_seconds()
        )

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            told = error.retry_after if isinstance(error, EdgeError) else None
            # never sooner than told, and not all at once
            return backing_off(state) + (told.total_seconds() if told else 0.0)

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._is_worth_a_try),
            stop=stop_after_attempt(rules.tries),
            wait=pause,
            sleep=self._sleep,
            reraise=True,
        )

        async def attempt() -> Answer:
            return await one_try()

        # not `one_try` itself: tenacity awaits only what it can see to be a coroutine function
        return await retrying(attempt)

    def _is_worth_a_try(self, error: BaseException) -> bool:
        if not isinstance(error, EdgeError):
            return False
        if error.retry_after is not None and error.retry_after > self._rules.longest_retry_after:
            return False
        # a proxy that sends a request twice has used up its nonce: the first may have taken effect
        return error.transient or error.code == "auth.replayed"

    async def _with_right_clock(self, request: _Request, content: bytes, sent: Mapping[str, str]) -> Answer:
        try:
            return await self._try(request, content, sent, self._ahead)
        except EdgeError as error:
            if error.code != "auth.clock_skew" or error.server_time is None:
                raise
            ahead = error.server_time - self._now()
            # no clock that was ever set is so far off: whoever says so may want signatures for another day
            if abs(ahead) > _MOST_AHEAD:
                raise
        try:
            answer = await self._try(request, content, sent, ahead)
        except EdgeError as error:
            if error.status not in (None, httpx.codes.UNAUTHORIZED):
                self._ahead = ahead
            raise
        self._ahead = ahead
        return answer

    async def _try(self, request: _Request, content: bytes, sent: Mapping[str, str], ahead: float) -> Answer:
        signed = signature.headers(
            self._credentials,
            timestamp=int(self._now() + ahead),
            nonce=secrets.token_urlsafe(24),
            method=request.method,
            target=request.target,
            body=content,
        )
        try:
            async with asyncio.timeout(self._rules.one_try.total_seconds()):
                response, raw = await self._heard(request, content, {**sent, **signed})
        except (httpx.HTTPError, OSError) as error:  # TimeoutError is an OSError
            raise EdgeUnreachable("edge.unreachable", f"{type(error).__name__}: {error}"[:300]) from error
        if response.status_code >= 300 and response.status_code != httpx.codes.NOT_MODIFIED:
            now = datetime.fromtimestamp(self._now() + ahead, UTC)
            pause = parse_retry_after(response.headers.get("retry-after"), now=now)
            url = str(request.url.copy_with(query=None))
            raise from_answer(response.status_code, raw, retry_after=pause, url=url)
        return Answer(response.status_code, _parsed(response, raw), response.headers)

    async def _heard(
        self, request: _Request, content: bytes, headers: Mapping[str, str]
    ) -> tuple[httpx.Response, bytes]:
        heard = bytearray()
        async with self._http.stream(
            request.method, request.url, content=content or None, headers=headers
        ) as response:
            async for chunk in response.aiter_raw():
                heard += chunk
                if len(heard) > self._rules.answer_bytes:
                    raise _unreadable(response, f"the answer has more than {self._rules.answer_bytes} bytes")
        return response, bytes(heard)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: httpx.URL
    target: str


def _parsed(response: httpx.Response, raw: bytes) -> Any:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _unreadable(response, "the answer is compressed, which nobody asked for")
    if not raw:
        return None
    try:
        return decoded(raw)
    except (DecodeError, RecursionError, ValueError) as error:
        raise _unreadable(response, f"the answer is no JSON: {error}"[:300]) from None


def _unreadable(response: httpx.Response, detail: str) -> EdgeAnswerUnreadable:
    request_id = response.headers.get("x-request-id")
    return EdgeAnswerUnreadable(
        "edge.answer_unreadable", detail, status=response.status_code, request_id=request_id
    )
