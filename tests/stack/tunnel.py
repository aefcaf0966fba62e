"""A websocket through the gateway: the handshake is rewritten, everything after it is passed as raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from aiohttp import web

CONNECT_SECONDS = 3.0
HANDSHAKE_SECONDS = 15.0
"""The Realtime server takes 2 s on purpose to refuse."""
MAX_HEAD = 64 * 1024


async def tunnel(request: web.BaseRequest, upstream: str, path_qs: str) -> web.StreamResponse:
    """Returns when either side has closed. 503 if the server is not there; its own answer if it refuses."""
    host, _, port = upstream.removeprefix("http://").rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port), limit=MAX_HEAD)
    except (OSError, TimeoutError):
        return web.json_response({"message": "upstream realtime is not available"}, status=503)
    try:
        writer.write(_handshake(request, path_qs))
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                return await _refusal(head, reader)
        await _splice(request, head, reader, writer)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return web.json_response({"message": "upstream realtime did not answer"}, status=503)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return web.Response()  # to a connection that is closed by now


def _handshake(request: web.BaseRequest, path_qs: str) -> bytes:
    lines = [f"GET {path_qs} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "x-api-key"]
    return "\r\n".join([*lines, "", ""]).encode()


async def _refusal(head: bytes, reader: asyncio.StreamReader) -> web.Response:
    status_line, _, rest = head.decode("latin-1").partition("\r\n")
    headers = dict(line.split(": ", 1) for line in rest.lower().split("\r\n") if ": " in line)
    body = await reader.readexactly(min(int(headers.get("content-length", "0")), MAX_HEAD))
    content_type = headers.get("content-type", "text/plain").partition(";")[0]
    return web.Response(status=int(status_line.split()[1]), body=body, content_type=content_type)


async def _splice(
    request: web.BaseRequest, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    transport = cast("asyncio.Transport", request.transport)
    if transport is None:  # the client left during the handshake
        return
    client = _ClientSide(transport.get_protocol(), writer)
    transport.set_protocol(client)
    transport.write(head)
    pump = asyncio.ensure_future(_pump(reader, transport, client))
    try:
        await asyncio.wait([pump, client.closed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        pump.cancel()
        transport.close()


async def _pump(reader: asyncio.StreamReader, transport: asyncio.Transport, client: _ClientSide) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(MAX_HEAD):
            transport.write(data)
            await client.writable.wait()


class _ClientSide(asyncio.Protocol):
    """Takes the place of aiohttp's protocol on the client's connection, which learns only of its end."""

    def __init__(self, former: asyncio.BaseProtocol, writer: asyncio.StreamWriter) -> None:
        self._former = former
        self._writer = writer
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self._writer.write(data)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        if not self.closed.done():
            self.closed.set_result(None)
        self._former.connection_lost(exc)
