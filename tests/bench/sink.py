"""A receiver as fast as Python makes one, in its own process: `python -m tests.bench.sink PORT`.

It answers 204 to every POST and remembers what came, but verifies nothing, so that what is measured is the
sender. A path may ask for patience: `/hang/30/…` is answered after 30 s. It is asked over the same port:

    GET  /counts     {"requests", "distinct", "first_at", "last_at"}; distinct by path and webhook-id
    GET  /arrivals   a line for each request: path, webhook-id, unix seconds, checksum of the body
    GET  /last       {"headers", "body"} of the last request, to verify it by
    POST /forget     starts from nothing
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import cast
from zlib import crc32

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
Arrival = tuple[bytes, bytes, float, int]


@dataclass
class Memory:
    arrivals: list[Arrival] = field(default_factory=list)
    last: tuple[bytes, bytes] = (b"", b"")

    def counts(self) -> bytes:
        came = self.arrivals
        return json.dumps(
            {
                "requests": len(came),
                "distinct": len({arrival[:2] for arrival in came}),
                "first_at": came[0][2] if came else None,
                "last_at": came[-1][2] if came else None,
            }
        ).encode()

    def lines(self) -> bytes:
        return b"".join([b"%s %s %.6f %d\n" % arrival for arrival in self.arrivals])

    def last_request(self) -> bytes:
        head, body = self.last
        pairs = [line.partition(b": ") for line in head.split(b"\r\n")[1:] if line]
        headers = {name.decode().lower(): value.decode() for name, _, value in pairs}
        return json.dumps({"headers": headers, "body": body.decode()}).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; bodies come with a content-length."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self._buffer = memory, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            stop = end + 4 + int(_value(head, b"\r\ncontent-length:") or 0)
            if len(buffer) < stop:
                break
            self._take(buffer[:end], head, buffer[end + 4 : stop])
            buffer = buffer[stop:]
        self._buffer = buffer

    def _take(self, raw: bytes, head: bytes, body: bytes) -> None:
        method, path, _ = raw.split(b" ", 2)
        if method == b"GET" or path == b"/forget":
            self._transport.write(_said(self._told(path)))
            return
        memory = self._memory
        memory.arrivals.append((path, _value(head, b"\r\nwebhook-id:"), time.time(), crc32(body)))
        memory.last = (raw, body)
        if path.startswith(b"/hang/"):
            loop = asyncio.get_running_loop()
            loop.call_later(float(path.split(b"/")[2]), self._transport.write, NO_CONTENT)
        else:
            self._transport.write(NO_CONTENT)

    def _told(self, path: bytes) -> bytes:
        match path:
            case b"/counts":
                return self._memory.counts()
            case b"/arrivals":
                return self._memory.lines()
            case b"/last":
                return self._memory.last_request()
            case b"/forget":
                self._memory.arrivals.clear()
        return b""


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    if start < 0:
        return b""
    end = head.find(b"\r\n", start + 2)
    return head[start + len(name) : end if end >= 0 else len(head)].strip()


def _said(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


async def serve(port: int) -> None:
    memory, loop = Memory(), asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    server = await loop.create_server(lambda: Connection(memory), sock=listening)
    gc.disable()  # nothing here makes cycles, and a walk through a million arrivals would be a pause
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
