"""The HTTP side: handshake, health, and the object that holds the parts together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from tests.stack.realtime.authorize import Authorizer
from tests.stack.realtime.broadcast import DatabaseBroadcasts, Hub
from tests.stack.realtime.changes import Changes
from tests.stack.realtime.connection import Connection
from tests.stack.realtime.database import Session
from tests.stack.realtime.frames import CODECS
from tests.stack.realtime.limits import RateCounter
from tests.stack.realtime.presence import PresenceRooms
from tests.stack.realtime.settings import Settings
from tests.stack.realtime.tokens import TokenError, Verifier

SERVICE_RESTART = 1012
BACKSTOP = 4
PATHS = ("/socket/websocket", "/realtime/v1/websocket")
log = logging.getLogger(__name__)


class Realtime:
    """One project's server. `start` returns when it listens; `stop` closes every socket with 1012."""

    def __init__(self, settings: Settings) -> None:
        clock = asyncio.get_running_loop().time
        self.settings = settings
        self.hub = Hub()
        self.presence = PresenceRooms()
        self.verifier = Verifier(settings.jwt_secret, settings.jwks)
        self.rate = self.counter(clock)
        self.session = Session(settings.db_url, "realtime_connect")
        self.authorizer = Authorizer(self.session)
        self.broadcasts = DatabaseBroadcasts(settings, self.hub, self.rate, self.session)
        self.changes = Changes(settings, self.counter(clock))
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    def counter(self, clock: Any) -> RateCounter:
        settings = self.settings
        return RateCounter(
            limit=settings.max_events_per_second, tick_seconds=settings.rate_tick_ms / 1000, clock=clock
        )

    async def start(self) -> int:
        """Starts everything; returns the port. Raises `OSError` when the port is taken."""
        application = web.Application()
        application.add_routes([web.get("/health", self._health)])
        application.add_routes([web.get(path, self._handshake) for path in PATHS])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.host, self.settings.port)
        await site.start()
        self.spawn(self.broadcasts.run())
        self.spawn(self.changes.run())
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        closing = [connection.close(SERVICE_RESTART) for connection in self._connections]
        await asyncio.gather(*closing, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        await self.session.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the server died", exc_info=task.exception())

    async def _health(self, request: web.Request) -> web.Response:
        """503 until the database was heard for the first time. `broadcast` and `changes`: is it heard now."""
        started = self.broadcasts.started
        return web.json_response(
            {
                "status": "ok" if started else "starting",
                "broadcast": self.broadcasts.connected.is_set(),
                "changes": self.changes.polling,
                "connections": len(self._connections),
            },
            status=200 if started else 503,
        )

    async def _handshake(self, request: web.Request) -> web.StreamResponse:
        codec = CODECS.get(request.query.get("vsn", "1.0.0"))
        if codec is None:
            return web.Response(status=403)
        try:
            token = self.verifier.verify(_api_key(request))
        except TokenError as error:
            return await self._deny(401, error.handshake)
        except KeyError:
            return await self._deny(401, "API key is missing")
        if len(self._connections) >= self.settings.max_connections:
            return await self._deny(429, "Too many connected users")
        # No compression and no subprotocol: the real server ignores offers of both.
        # The limit here is a backstop: frames over the real one are read whole, then refused in good order.
        backstop = BACKSTOP * self.settings.max_frame_bytes
        socket = web.WebSocketResponse(compress=False, max_msg_size=backstop)
        await socket.prepare(request)
        connection = Connection(self, socket, codec=codec, token=token, headers=dict(request.headers))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
        return socket

    async def _deny(self, status: int, message: str) -> web.Response:
        await asyncio.sleep(self.settings.connect_backoff_ms / 1000)
        return web.json_response({"error": message}, status=status)


def _api_key(request: web.Request) -> str:
    """The header wins over the query. Raises `KeyError` when neither is there."""
    header = request.headers.get("x-api-key")
    return header if header is not None else request.query["apikey"]
