"""The sending path's HTTP client beside two others: requests a second, and CPU for each."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.bench.figures import Line, per_second
from tests.flow.scene import Scene

REQUESTS = 20_000
AT_ONCE = 100
BODY_CHARACTERS = 1000
WAYS = [
    ("ours",),
    ("ours", "uvloop"),
    ("pyreqwest",),
    ("pyreqwest", "uvloop"),
    ("aiohttp",),
    ("aiohttp", "uvloop"),
]


async def clients(_: Scene) -> Line:
    """Each client posts the same signed message to the same quick receiver, each in a process of its own."""
    body = json.dumps({"data": "x" * BODY_CHARACTERS})
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_0123456789abcdef",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    }
    line: dict[str, Any] = {"requests": REQUESTS, "at_once": AT_ONCE, "body_bytes": len(body)}
    async with sink() as url:
        for client, *loop in WAYS:
            taken = await run_client(client, url, REQUESTS, AT_ONCE, *loop, headers=headers, body=body)
            line["_on_".join([client, *loop])] = {
                "per_s": per_second(REQUESTS, taken["seconds"]),
                "cpu_us_each": round(taken["cpu_seconds"] / REQUESTS * 1e6),
            }
    return line


async def run_client(
    client: str, url: str, count: int, at_once: int, *loop: str, headers: dict[str, str], body: str
) -> dict[str, float]:
    """Runs `tests.bench.bare_client`; the seconds that it took."""
    arguments = ("-m", "tests.bench.bare_client", client, url, str(count), str(at_once), *loop)
    process = await create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    async with asyncio.timeout(120):
        out, _ = await process.communicate(json.dumps({"headers": headers, "body": body}).encode())
    assert process.returncode == 0, f"the bare client ended with {process.returncode}"
    return {name: float(seconds) for name, seconds in json.loads(out).items()}


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """The URL of a `tests.bench.sink`."""
    process = await create_subprocess_exec(sys.executable, "-m", "tests.bench.sink", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/hook"
    finally:
        process.stdin.close()
        await process.wait()
