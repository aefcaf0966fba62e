"""A double of the adapter's door, for the clients: it checks what it is sent, and answers as told.

It computes signatures with `hmac` by itself, so that a client cannot agree with its own mistake; that
the real adapter agrees is shown elsewhere here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

KEY = "key_0193b6e56f5b7cc08a4e6d1a3c9d2f10"
SECRET = "pms_sk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
BASE = "https://pms.test/functions/v1/api"
Answer: TypeAlias = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class Door(httpx.AsyncBaseTransport):
    """`answers` are given one after the other, the last for ever; what was refused uses none up."""

    answers: Sequence[Answer] = ()
    now: Callable[[], float] = lambda: 1_764_201_600.0
    heard: list[httpx.Request] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    taken: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.heard.append(request)
        if (refused := self._refusal(request)) is not None:
            return refused
        answer = self.answers[min(self.taken, len(self.answers) - 1)]
        self.taken += 1
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            return answer(request)
        # a new one each time: whoever reads one to its end closes it
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)

    def _refusal(self, request: httpx.Request) -> httpx.Response | None:
        told = request.headers
        target = request.url.raw_path.decode().removeprefix("/functions/v1/api")
        nonce, timestamp = told["x-request-nonce"], told["x-request-timestamp"]
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,64}", nonce) or told["x-api-key"] != KEY:
            return problem(400, "auth.header_invalid")
        if abs(int(timestamp) - self.now()) > 300:
            return problem(401, "auth.clock_skew", server_time=int(self.now()))
        body = hashlib.sha256(request.content).hexdigest()
        text = f"v1:{timestamp}:{nonce}:{request.method}:{target}:{body}"
        if (
            told["x-request-signature"]
            != "v1=" + hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
        ):
            return problem(401, "auth.invalid")
        if nonce in self.nonces:
            return problem(401, "auth.replayed")
        self.nonces.add(nonce)
        return None


def answered(data: Any, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status,
        headers={"content-type": "application/json", **named},
        stream=httpx.ByteStream(json.dumps(data).encode()),
    )


def problem(status: int, code: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    told = {
        "type": "about:blank",
        "status": status,
        "code": code,
        "detail": "why",
        "request_id": "r-1",
        **more,
    }
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(json.dumps(told).encode()))
