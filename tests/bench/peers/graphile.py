"""graphile-worker with a local queue, under Deno, over a database of its own on the platform's Postgres."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import deno  # type: ignore[import-untyped]  # ships no types
import psycopg

from tests.bench.cpu import used
from tests.bench.figures import Line, per_second
from tests.bench.sink_process import SinkProcess
from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.stack.errors import PartFailedError
from tests.stack.process import Child
from tests.stack.scripts import deno_environment

HERE = Path(__file__).resolve().parent
DATABASE = "peer_graphile"
LEFT = "select exists (select from graphile_worker._private_jobs)"
LOGGED = "select count(*) from attempts"
SETTINGS = {"concurrency": 200, "connections": 100, "localQueue": 500}
"""The best of what was tried: more jobs at once or a larger queue made it no faster."""


@dataclass(frozen=True)
class Message:
    """What every job carries, and the secret that signs it."""

    body: str
    secret: str


async def graphile(scene: Scene, sink: SinkProcess, message: Message, *, count: int, endpoints: int) -> Line:
    """`count` queued events signed, posted, logged and completed; `{"per_s": None, "reason"}` if not."""
    if reason := await asyncio.to_thread(_install):
        return {"per_s": None, "reason": reason}
    await sink.forget()
    admin = scene.platform.admin_db_url
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        await connection.execute(f"drop database if exists {DATABASE} with (force)")
        await connection.execute(f"create database {DATABASE}")
    database = urlunsplit(urlsplit(admin)._replace(path=f"/{DATABASE}"))
    settings: dict[str, Any] = {
        **SETTINGS,
        "database": database,
        "count": count,
        "urls": _urls(sink.url, endpoints),
        "body": message.body,
        "secret": message.secret,
    }
    try:
        await asyncio.to_thread(_prepare, settings)
        return await _run(scene, sink, settings, message)
    except subprocess.CalledProcessError as error:
        return {"per_s": None, "reason": str(error.stderr).strip()[-300:]}
    finally:
        # what it leaves to clean up is not to meet whoever is measured next
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
            await connection.execute(f"drop database {DATABASE} with (force)")


async def _run(scene: Scene, sink: SinkProcess, settings: dict[str, Any], message: Message) -> Line:
    count, platform = int(settings["count"]), scene.platform
    child = Child(
        "graphile-worker",
        [*_command("--allow-net", "--allow-sys"), "run"],
        env=_environment(settings),
        log=platform.run / "graphile.log",
        guard=platform.guard,
        ready=lambda: True,
    )
    platform.adopt(child.name, child)
    try:
        await asyncio.to_thread(child.start)
        before = used(platform, child.pid)
        async with await psycopg.AsyncConnection.connect(settings["database"], autocommit=True) as connection:

            async def nothing_left() -> bool:
                assert child.running, f"graphile-worker ended: {child.tail()}"
                row = await (await connection.execute(LEFT)).fetchone()
                return row == (False,)

            await eventually(nothing_left, 300, what="graphile-worker is done", interval=0.1)
            assert await (await connection.execute(LOGGED)).fetchone() == (count,), "a row for each"
        ended = time.time()
        took = used(platform, child.pid) - before
    except PartFailedError as error:
        return {"per_s": None, "reason": str(error)[-300:]}
    finally:
        await asyncio.to_thread(child.stop)
    counts = await sink.counts()
    assert counts.distinct == count, f"graphile-worker sent {counts.distinct} of {count}"
    assert counts.first_at is not None
    await sink.verify_last(message.secret)
    figures = took.per(count)
    return {
        "per_s": per_second(count, ended - counts.first_at),
        "sent_per_s": per_second(count, counts.seconds),
        **{name: figures[name] for name in ("worker_cpu_ms", "postgres_cpu_ms")},
    }


def _install() -> str | None:
    """Why there is no peer, or None."""
    command = [deno.find_deno_bin(), "install", "--quiet", "--frozen"]
    try:
        done = subprocess.run(
            command,
            cwd=HERE,
            env=deno_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else f"deno install: {done.stderr.strip()[-300:]}"


def _prepare(settings: dict[str, Any]) -> None:
    subprocess.run(
        [*_command("--allow-net", "--allow-sys"), "prepare"],
        env=_environment(settings),
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def _command(*rights: str) -> list[str]:
    packages = ["--config", str(HERE / "package.json"), "--node-modules-dir=manual", "--no-lock"]
    return [
        deno.find_deno_bin(), "run", "--quiet", "--cached-only", *rights, "--allow-env", "--allow-read",
        *packages, str(HERE / "graphile.mjs"),
    ]  # fmt: skip


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    return {**deno_environment(), "NODE_ENV": "production", "PEER_SETTINGS": json.dumps(settings)}


def _urls(base: str, endpoints: int) -> Sequence[str]:
    return [f"{base}/peer/{n}" for n in range(endpoints)]
