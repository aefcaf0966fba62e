"""Hands one HTTP request on to a part of the platform and its answer back, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

WHOLE = 1 << 20
"""Bytes up to which a body is passed in one piece, the quick way; what is larger, or of unknown size, is
streamed."""

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade")
)
NOT_SENT_ON = HOP_BY_HOP | {"host", "authorization", "content-length", "transfer-encoding", "expect"}
NOT_SENT_BACK = HOP_BY_HOP | {"content-length", "transfer-encoding"}


class Proxy:
    """`upstream` is `http://host:port`, or an address under it; `headers` go where the client sends none."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstream: str,
        *,
        name: str,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._session = session
        self._upstream = upstream
        self._name = name
        self._headers = headers

    async def forward(
        self, request: web.BaseRequest, path_qs: str, authorization: str, extra: dict[str, str]
    ) -> web.StreamResponse:
        """503 if the part is not there or does not answer; `extra` are headers to add where the part has
        none."""
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in NOT_SENT_ON
        )
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        headers["X-Forwarded-Host"] = request.host
        headers["X-Forwarded-Proto"] = "http"
        # appended, as the hosted gateway does: what a client sends there itself stands before it
        headers["X-Forwarded-For"] = ", ".join(
            [*headers.popall("X-Forwarded-For", []), request.remote or "unknown"]
        )
        if authorization:
            headers["Authorization"] = authorization
        try:
            async with self._session.request(
                request.method,
                URL(self._upstream + path_qs, encoded=True),
                headers=headers,
                data=await _body(request),
                allow_redirects=False,
            ) as answer:
                return await _relay(request, answer, extra)
        except TimeoutError:
            return self._unavailable(504, "did not answer in time", extra)
        except aiohttp.ClientConnectionError as error:
            return self._unavailable(503, f"is not available ({type(error).__name__})", extra)

    def _unavailable(self, status: int, why: str, extra: dict[str, str]) -> web.Response:
        headers = {**extra, "Retry-After": "1"}
        return web.json_response({"message": f"upstream {self._name} {why}"}, status=status, headers=headers)


async def _body(request: web.BaseRequest) -> bytes | aiohttp.StreamReader | None:
    if not request.can_read_body:
        return None
    if request.content_length is not None and request.content_length < WHOLE:
        return await request.read()
    return request.content


async def _relay(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, extra: dict[str, str]
) -> web.StreamResponse:
    headers = CIMultiDict(
        (name, value) for name, value in answer.headers.items() if name.lower() not in NOT_SENT_BACK
    )
    for name, value in extra.items():
        headers.setdefault(name, value)
    head = bytearray()
    async for chunk in answer.content.iter_any():
        head += chunk
        if len(head) > WHOLE:
            return await _stream(request, answer, headers, bytes(head))
    if request.method == "HEAD" and answer.content_length is not None:
        # the length of what GET would answer, which a body of none would not have
        headers["Content-Length"] = str(answer.content_length)
        return web.Response(status=answer.status, reason=answer.reason, headers=headers)
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=bytes(head))


async def _stream(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, headers: CIMultiDict[str], head: bytes
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    await response.write(head)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response
