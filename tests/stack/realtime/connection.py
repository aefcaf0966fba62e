"""One websocket: reads frames in their order, routes them to channels, writes without blocking anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from tests.stack.realtime.channel import Channel
from tests.stack.realtime.frames import Codec, Message, compact
from tests.stack.realtime.joins import join
from tests.stack.realtime.requests import handle
from tests.stack.realtime.tokens import Token

if TYPE_CHECKING:
    from tests.stack.realtime.server import Realtime

NORMAL, TOO_BIG, TRY_AGAIN_LATER = 1000, 1009, 1013
log = logging.getLogger(__name__)


class Connection:
    """A socket after its handshake. Frames of one socket are handled one after the other, joins included."""

    def __init__(
        self,
        realtime: Realtime,
        socket: web.WebSocketResponse,
        *,
        codec: Codec,
        token: Token,
        headers: Mapping[str, str],
    ) -> None:
        self.realtime = realtime
        self.codec = codec
        self.token = token
        self.headers = headers
        self.channels: dict[str, Channel] = {}
        self._socket = socket
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._queued_bytes = 0

    async def run(self) -> None:
        """Returns when the socket is closed, by whichever side."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            for channel in list(self.channels.values()):
                channel.close()

    async def close(self, code: int) -> None:
        await self._socket.close(code=code)

    def send(self, frame: str | bytes) -> None:
        if self._socket.closed:
            return
        self._queued_bytes += len(frame)
        if self._queued_bytes > self.realtime.settings.max_queued_bytes:
            log.warning("a client does not read: its socket is closed")
            self.realtime.spawn(self.close(TRY_AGAIN_LATER))
            return
        self._outbox.put_nowait(frame)

    def reply(self, request: Message, *, status: str = "ok", response: Any = None) -> None:
        """An answer where there is no channel."""
        payload = compact({"status": status, "response": {} if response is None else response})
        refs = {"join_ref": request.join_ref, "ref": request.ref}
        self.send(self.codec.encode(request.topic, "phx_reply", payload, **refs))

    def forget(self, channel: Channel) -> None:
        if self.channels.get(channel.joined.topic) is channel:
            del self.channels[channel.joined.topic]

    async def _read(self) -> None:
        """Ends with the socket."""
        idle_seconds = self.realtime.settings.idle_timeout_ms / 1000
        while not self._socket.closed:
            try:
                received = await self._socket.receive(timeout=idle_seconds)
            except TimeoutError:
                await self.close(NORMAL)
                return
            if received.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if _size(received.data) > self.realtime.settings.max_frame_bytes:
                await self.close(TOO_BIG)
                return
            message = self.codec.decode(received.data)
            if message is not None:
                await self._route(message)

    async def _route(self, message: Message) -> None:
        channel = self.channels.get(message.topic)
        if message.topic == "phoenix" and message.event == "heartbeat":
            self.reply(message)
        elif message.topic.startswith("realtime:") and message.event == "phx_join":
            await join(self, message)
        elif channel is not None:
            await handle(channel, message)
        elif message.event == "phx_leave":
            self.reply(message)
        else:
            self.reply(message, status="error", response={"reason": "unmatched topic"})

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while True:
                frame = await self._outbox.get()
                self._queued_bytes -= len(frame)
                if isinstance(frame, bytes):
                    await self._socket.send_bytes(frame)
                else:
                    await self._socket.send_str(frame)


def _size(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
