"""Every example of docs/pms-guide.md runs, in order, and prints what the guide says it prints."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import deno  # type: ignore[import-untyped]  # ships no types
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.databases import Connection
from tests.flow.worker_process import WorkerProcess
from tests.sql.ask import column
from tests.stack.paths import ROOT, STACK
from tests.stack.platform import Platform

GUIDE = (ROOT / "docs" / "pms-guide.md").read_text()
# Prints like the guide writes: texts bare, all else as JSON.
PRINTING = """
console.log = (...all) => Deno.stdout.writeSync(new TextEncoder().encode(
  all.map((one) => typeof one === "string" ? one : JSON.stringify(one)).join(" ") + "\\n"));
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def promised(source: str, comment: str) -> list[str]:
    """What stands behind each arrow of the blocks."""
    return re.findall(rf"{comment} → (.*)$", source, re.MULTILINE)


@asynccontextmanager
async def scenery(platform: Platform) -> AsyncIterator[str]:
    """A worker, and a receiver that takes everything; yields the receiver's address."""

    async def take(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    async with TestServer(app, host="127.0.0.1") as server, WorkerProcess(platform):
        yield f"127.0.0.1:{server.port}/"


async def printed(command: Sequence[str], platform: Platform, source: str = "") -> list[str]:
    """The lines that are not empty."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["timeout", "60", *command],
        input=source,
        cwd=platform.run,
        env={
            **os.environ,
            **platform.addresses.status(),
            "NO_COLOR": "1",
            "DENO_DIR": os.environ.get("DENO_DIR", str(ROOT / ".cache" / "deno")),
            "DENO_NO_UPDATE_CHECK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    assert done.returncode == 0, "\n".join([*lines[-3:], done.stderr])
    return lines


def on_deno(script: Path) -> list[str]:
    lock = ["--lock", str(STACK / "deno.lock"), "--frozen", "--no-config", "--cached-only"]
    rights = ["--allow-net=127.0.0.1", "--allow-env", "--allow-read"]
    return [deno.find_deno_bin(), "run", "--quiet", *lock, *rights, str(script)]


@pytest.mark.own_platform
async def test_every_example_prints_what_the_guide_says(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(with_functions=False)
    javascript, shell = "\n".join(blocks("js")), "\n".join(blocks("sh"))
    async with scenery(platform) as receiver:
        script = platform.run / "guide.mjs"
        ready = javascript.replace('"@supabase/supabase-js"', '"npm:@supabase/supabase-js@2.119.0"')
        script.write_text(PRINTING + ready.replace("127.0.0.1:8787/", receiver) + "\nDeno.exit(0);\n")
        assert await printed(on_deno(script), platform) == promised(javascript, "//")

        spoken = shell.replace(". .cache/up.env", ":").replace("127.0.0.1:8787/", receiver)
        assert await printed(["sh", "-eu"], platform, spoken) == promised(shell, "#")


async def test_the_guide_shows_every_function_of_the_pms(db: Connection) -> None:
    functions = await column(
        db,
        "select distinct p.proname::text from pg_proc p where p.pronamespace = 'public'::regnamespace"
        " and p.prorettype <> 'trigger'::regtype"
        " and has_function_privilege('authenticated', p.oid, 'execute')",
    )
    assert len(functions) > 30
    missing = sorted(name for name in functions if not re.search(rf"\b{name}\b", GUIDE))
    assert not missing, f"docs/pms-guide.md does not show {', '.join(missing)}"
