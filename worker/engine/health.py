"""Alive, ready, and the numbers: `/livez`, `/readyz`, `/metrics` on one small server."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.metrics import Metrics
from worker.errors import SettingsError
from worker.log import HEALTH_LISTENING, Logger, get_logger, redact

_PROMETHEUS: Final = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_LAG_EVERY: Final = timedelta(milliseconds=500)
# a loop that was stuck for this long handles nothing in time
_LAG_LIMIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Why the worker is not ready, and what is degraded though it works."""

    reasons: Sequence[str]
    notes: Mapping[str, Any]


class HealthServer:
    """The side task that serves health. `open` first, so that a taken port is found before work starts.

    `routes`: what other parts serve on the same port; they bound what they read themselves.
    """

    name = "health"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        metrics: Metrics,
        readiness: Callable[[], Readiness],
        clock: Clock,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._host, self._asked_port = host, port
        self._metrics, self._readiness, self._clock = metrics, readiness, clock
        self._routes = routes
        self._lag = 0.0
        self._runner: web.AppRunner | None = None
        self.port = port
        self._log: Logger = get_logger("worker.health")

    async def open(self) -> None:
        """Listens. Raises `SettingsError` naming the variable when the address cannot be used."""
        app = web.Application(client_max_size=1024)
        app.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._numbers),
                *self._routes,
            ]
        )
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._asked_port).start()
        except (OSError, UnicodeError) as error:
            await runner.cleanup()
            raise SettingsError([_cannot_listen(self._host, self._asked_port, error)]) from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        # a name may stand for several addresses, and with port 0 each of them gets a port of its own
        url, *also = [_url(address[0], address[1]) for address in runner.addresses]
        self._log.info(HEALTH_LISTENING, url=url, **({"also": also} if also else {}))

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def run(self) -> None:
        """Measures how late the loop wakes a sleeper, for as long as the server is up."""
        while True:
            due = self._clock.monotonic() + _LAG_EVERY.total_seconds()
            await self._clock.sleep(_LAG_EVERY)
            self._lag = max(0.0, self._clock.monotonic() - due)
            self._metrics.loop_lag.set(self._lag)

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        reasons, notes = self._judged()
        body = redact({"ready": not reasons, "reasons": reasons, **notes})
        return web.json_response(body, status=200 if not reasons else 503)

    def _judged(self) -> tuple[list[str], Mapping[str, Any]]:
        found = self._readiness()
        reasons = list(found.reasons)
        if self._lag > _LAG_LIMIT:
            reasons.append(f"the event loop was stuck for {self._lag:.0f} s")
        return reasons, found.notes

    async def _numbers(self, _request: web.Request) -> web.Response:
        reasons, _ = self._judged()
        self._metrics.ready.set(not reasons)
        return web.Response(body=self._metrics.render(), headers=_PROMETHEUS)


def reasons_of(conditions: Sequence[Condition]) -> list[str]:
    """The conditions that do not hold, as readable reasons."""
    return [f"{c.name}: {c.reason}" for c in conditions if c.reason is not None]


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return f"WORKER_HTTP_HOST: {host!r} is neither an address nor a name of a host"
    if error.errno == errno.EADDRINUSE:
        return (
            f"WORKER_HTTP_PORT: port {port} on {host} is taken; stop what uses it, "
            "choose another, or set 0 to take any free one"
        )
    return f"WORKER_HTTP_HOST, WORKER_HTTP_PORT: cannot listen on {host}:{port}: {error.strerror or error}"
