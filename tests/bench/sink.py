"""A receiver as fast as Python makes one, in its own process: `python -m tests.bench.sink PORT`.

It answers 204 to every POST and remembers what came, but verifies nothing, so that what is measured is the
sender. A path under `/hang/30/` is answered after 30 s while the sink is broken. It is asked over its port:

    GET  /counts        {"requests", "distinct", "first_at", "last_at"}; distinct by path and webhook-id
    GET  /arrivals/100  a line for each request but the first 100: path, webhook-id, unix seconds, checksum
    GET  /last          {"headers", "body"} of the last request, to verify it by
    POST /forget        starts from nothing
    POST /break         from now on `/hang/` hangs
    POST /mend          answers what hangs, and all further requests at once
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
CONTROLS = {b"/forget", b"/break", b"/mend"}
Arrival = tuple[bytes, bytes, float, int]


@dataclass
class Memory:
    arrivals: list[Arrival] = field(default_factory=list)
    seen: set[tuple[bytes, bytes]] = field(default_factory=set)
    last: tuple[bytes, bytes] = (b"", b"")
    broken: bool = False
    hanging: dict[asyncio.TimerHandle, asyncio.Transport] = field(default_factory=dict)

    def take(self, path: bytes, message_id: bytes, body: bytes) -> None:
        self.arrivals.append((path, message_id, time.time(), crc32(body)))
        self.seen.add((path, message_id))

    def forget(self) -> None:
        self.arrivals.clear()
        self.seen.clear()

    def mend(self) -> None:
        self.broken = False
        for timer, transport in self.hanging.items():
            if not timer.cancelled() and timer.when() > asyncio.get_running_loop().time():
                timer.cancel()
                transport.write(NO_CONTENT)
        self.hanging.clear()

    def counts(self) -> bytes:
        came = self.arrivals
        return json.dumps(
            {
                "requests": len(came),
                "distinct": len(self.seen),
                "first_at": came[0][2] if came else None,
                "last_at": came[-1][2] if came else None,
            }
        ).encode()

    def lines(self, start: int) -> bytes:
        return b"".join([b"%s %s %.6f %d\n" % arrival for arrival in self.arrivals[start:]])

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
        if method == b"GET" or path in CONTROLS:
            self._transport.write(_said(self._told(path)))
            return
        memory = self._memory
        memory.take(path, _value(head, b"\r\nwebhook-id:"), body)
        memory.last = (raw, body)
        if memory.broken and path.startswith(b"/hang/"):
            seconds = float(path.split(b"/")[2])
            timer = asyncio.get_running_loop().call_later(seconds, self._transport.write, NO_CONTENT)
            memory.hanging[timer] = self._transport
        else:
            self._transport.write(NO_CONTENT)

    def _told(self, path: bytes) -> bytes:
        match path.split(b"/")[1:]:
            case [b"counts"]:
                return self._memory.counts()
            case [b"arrivals", start]:
                return self._memory.lines(int(start))
            case [b"last"]:
                return self._memory.last_request()
            case [b"forget"]:
                self._memory.forget()
            case [b"break"]:
                self._memory.broken = True
            case [b"mend"]:
                self._memory.mend()
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
