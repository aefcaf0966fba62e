"""A Realtime on loopback for what a real server does not do on command: going mute, dying in mid-join,
staying away. It speaks just enough of the protocol (vsn 1.0.0) to be joined and to ring."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Manner = Literal["well", "never ready", "mute after join", "silent join", "refuses join", "closes at join"]
READY = {
    "message": "Replication connection established",
    "status": "ok",
    "extension": "system",
    "channel": "worker",
}


class RealtimeDouble:
    """`manner` says how the next connections are treated."""

    def __init__(self) -> None:
        self.manner: Manner = "well"
        self.joined: dict[ServerConnection, str] = {}
        self.connections = 0
        self._server: Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/realtime/v1"

    async def start(self) -> None:
        """Listens, on the same port as before."""
        self._server = await serve(self._serve, "127.0.0.1", self._port, ping_interval=None)
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            await self.drop(1012)
            self._server.close()
            await self._server.wait_closed()
            self._server = None
            self.joined.clear()

    async def ring(self, payload: dict[str, Any]) -> None:
        """A broadcast from the database to everyone joined."""
        body = {"type": "broadcast", "event": "ring", "payload": payload, "meta": {"id": "1"}}
        await self.push("broadcast", body)

    async def push(self, event: str, payload: dict[str, Any], *, ref: str | None = None) -> None:
        for connection, topic in list(self.joined.items()):
            await _send(connection, topic, event, payload, ref)

    async def drop(self, code: int) -> None:
        """Closes every connection, as a server that goes away does."""
        for connection in list(self.joined):
            await connection.close(code)

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        manner = self.manner
        try:
            async for frame in connection:
                await self._answer(connection, json.loads(frame), manner)
        except ConnectionClosed:
            pass
        finally:
            self.joined.pop(connection, None)

    async def _answer(self, connection: ServerConnection, asked: dict[str, Any], manner: Manner) -> None:
        topic, ref = asked["topic"], asked["ref"]
        if asked["event"] == "phx_join":
            await self._join(connection, topic, ref, manner)
        elif asked["event"] == "heartbeat" and not (
            connection in self.joined and manner == "mute after join"
        ):
            await _reply(connection, topic, ref, "ok", {})

    async def _join(self, connection: ServerConnection, topic: str, ref: str, manner: Manner) -> None:
        match manner:
            case "silent join":
                return
            case "closes at join":
                await connection.close(1011)
            case "refuses join":
                reason = "Unauthorized: You do not have permissions to read from this Channel topic: worker"
                await _reply(connection, topic, ref, "error", {"reason": reason})
            case "well" | "never ready" | "mute after join":
                await _reply(connection, topic, ref, "ok", {"postgres_changes": []})
                if manner != "never ready":
                    await _send(connection, topic, "system", READY, None)
                self.joined[connection] = topic


async def _reply(connection: ServerConnection, topic: str, ref: str, status: str, response: Any) -> None:
    await _send(connection, topic, "phx_reply", {"status": status, "response": response}, ref)


async def _send(
    connection: ServerConnection, topic: str, event: str, payload: dict[str, Any], ref: str | None
) -> None:
    frame = json.dumps({"ref": ref, "event": event, "topic": topic, "payload": payload})
    try:
        await asyncio.wait_for(connection.send(frame), 5)
    except ConnectionClosed:
        return
