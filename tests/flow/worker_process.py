"""`pms-worker run` as a process of its own, to be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.eventually import eventually
from tests.stack.platform import Platform
from tests.stack.process import Child, answers

_numbers = itertools.count(1)


class WorkerProcess:
    """One worker against `platform`, which sees to it that the process never outlives the run.

    `settings` are WORKER_* and other variables of .env.example. Everything that waits is async, because the
    receiver and the writers live in the caller's loop.
    """

    def __init__(self, platform: Platform, **settings: str) -> None:
        self.name = f"worker-{next(_numbers)}"
        self.url = f"http://127.0.0.1:{(port := platform.ports.take())}"
        self._child = Child(
            self.name,
            [sys.executable, "-m", "worker", "run"],
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("WORKER_")},
                **platform.addresses.worker_settings(port),
                "WORKER_LOG_FORMAT": "json",
                **settings,
            },
            log=platform.run / f"{self.name}.log",
            guard=platform.guard,
            ready=lambda: answers(f"{self.url}/readyz"),
        )
        platform.adopt(self.name, self._child)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._child.stop)

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int:
        return self._child.pid

    async def start(self) -> None:
        """Until /readyz says ready. Raises `PartFailedError` with the end of the log."""
        await asyncio.to_thread(self._child.start)

    async def start_live(self, deadline: float = 30.0) -> None:
        """The same, and until Realtime rings are heard."""
        await self.start()
        await self.until_realtime("live", deadline)

    async def stop(self, deadline: float = 30.0) -> int | None:
        """SIGTERM, the stop in two steps; its exit code."""
        return await asyncio.to_thread(self._child.stop, signal.SIGTERM, deadline)

    def kill(self) -> None:
        """kill -9; returns when the process is gone."""
        self._child.kill()

    async def readiness(self) -> dict[str, Any]:
        """What /readyz says, ready or not. Raises `URLError` when nobody answers."""
        parsed: dict[str, Any] = json.loads(await asyncio.to_thread(_get, f"{self.url}/readyz"))
        return parsed

    async def until_realtime(self, state: str, deadline: float) -> None:
        async def reached() -> bool:
            return str((await self.readiness())["realtime"]["state"]) == state

        await eventually(reached, deadline, what=f"Realtime is {state}")

    async def until_metric(self, name: str, at_least: float, deadline: float) -> None:
        async def reached() -> bool:
            return (await self.metrics()).get(name, 0.0) >= at_least

        await eventually(reached, deadline, what=f"{name} is {at_least:g}")

    async def metrics(self) -> dict[str, float]:
        """Every number of /metrics that has no labels, and those with one under `name{value}`."""
        text = (await asyncio.to_thread(_get, f"{self.url}/metrics")).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                label = ",".join(sample.labels.values())
                found[f"{sample.name}{{{label}}}" if label else sample.name] = sample.value
        return found

    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far, of all its lives; what is no JSON (a traceback) is left out."""
        lines = self._child.log.read_text(errors="replace").splitlines() if self._child.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def tail(self) -> str:
        return self._child.tail()


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.read())
