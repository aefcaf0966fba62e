"""The worker of the demo: `pms-worker run`, as it runs anywhere."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import httpx

from tests.demo.programs import pms_worker
from tests.demo.stage import expect
from tests.eventually import eventually
from tests.stack.platform import Platform
from tests.stack.process import Child, answers

HEARS_REALTIME_WITHIN: Final = 10.0
DRAIN_SECONDS: Final = 15.0


class WorkerDaemon:
    """A process that ends with the platform, if not before."""

    def __init__(self, platform: Platform) -> None:
        port = platform.ports.take()
        self._ready_url = f"http://127.0.0.1:{port}/readyz"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        settings = platform.addresses.worker_settings(port)
        self._child = Child(
            "worker",
            pms_worker("run"),
            env={**inherited, "NO_COLOR": "1", **settings, "WORKER_NAME": "demo"},
            log=platform.run / "worker.log",
            guard=platform.guard,
            ready=lambda: answers(self._ready_url),
        )
        platform.adopt("worker", self._child)

    async def start(self) -> None:
        """Returns when it is ready and its Realtime subscription is live.

        Raises `PartFailedError` with the end of its log, and `DidNotHappenError`.
        """
        await asyncio.to_thread(self._child.start)
        async with httpx.AsyncClient(timeout=5) as client:

            async def hears() -> bool:
                ready = await client.get(self._ready_url)
                return bool(ready.json()["realtime"]["state"] == "live")

            await eventually(hears, HEARS_REALTIME_WITHIN, what="the worker hearing Realtime")

    async def stop(self) -> None:
        """SIGTERM; it must drain and exit 0."""
        code = await asyncio.to_thread(self._child.stop, None, DRAIN_SECONDS)
        expect(code == 0, f"the worker ended with exit code {code} after SIGTERM")

    def tail(self) -> str:
        """The end of its log."""
        return self._child.tail()
