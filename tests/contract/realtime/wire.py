"""The tests' end of a websocket."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict, deque
from typing import Any

import aiohttp

from tests.contract.realtime.comparison import parse, topic_of

ANSWER_SECONDS = 8.0
_references = itertools.count(1)


class Socket:
    """Frames are sorted by topic: only within one is their order the contract."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, version: str, *, hears_marks: bool = False
    ) -> None:
        self._hears_marks = hears_marks
        self._socket = socket
        self._version = version
        self._received: dict[str, deque[Any]] = defaultdict(deque)

    async def send(self, frame: str) -> None:
        await self._socket.send_str(frame)

    async def send_bytes(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)

    async def push(self, topic: str, event: str, payload: Any, ref: str) -> None:
        if self._version.startswith("2"):
            return await self.send(json.dumps([ref, ref, topic, event, payload]))
        frame = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": ref}
        return await self.send(json.dumps(frame))

    async def next_of(self, topic: str, seconds: float = ANSWER_SECONDS) -> Any:
        """The next frame of the topic. Raises `TimeoutError`; `AssertionError` when the socket closes."""
        async with asyncio.timeout(seconds):
            while not self._received[topic]:
                message = await self._socket.receive()
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), "the socket closed"
                frame = parse(message.data)
                if self._hears_marks or not _is_mark(frame):
                    self._received[topic_of(frame)].append(frame)
            return self._received[topic].popleft()

    async def settle(self) -> None:
        """When this returns, the server has read all that was sent, and its answers are here."""
        while True:
            reference = f"settle-{next(_references)}"
            await self.push("phoenix", "heartbeat", {}, reference)
            frame = await self.next_of("phoenix")
            if reference in (frame[1:2] if isinstance(frame, list) else [frame["ref"]]):
                return
            self._received["phoenix"].appendleft(frame)

    def unexpected(self) -> list[Any]:
        return [frame for frames in self._received.values() for frame in frames]

    async def close(self) -> None:
        await self._socket.close()

    async def close_code(self) -> int | None:
        async with asyncio.timeout(ANSWER_SECONDS):
            while not self._socket.closed:
                await self._socket.receive()
        return self._socket.close_code


def _is_mark(frame: Any) -> bool:
    """Wildcard bindings hear the marker's table as well."""
    payload = frame[4] if isinstance(frame, list) else frame["payload"]
    data = payload.get("data") if isinstance(payload, dict) else None
    return isinstance(data, dict) and data.get("schema") == "marker"
