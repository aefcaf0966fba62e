"""`python -m tests.bench.bare_client CLIENT URL COUNT AT_ONCE [uvloop]`: one HTTP client in its own process.

`ours` is the sending path's. Headers and body come as JSON on standard input; the seconds that it took, by
the clock and of CPU, go to standard output as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network

import aiohttp
import uvloop
from pyreqwest.client import ClientBuilder

from worker.engine.clock import SystemClock
from worker.resolver import SystemResolver
from worker.wall import Wall
from worker.webhooks.sender import Sender

Post = Callable[[str, dict[str, str], str], Awaitable[int | None]]
"""From URL, headers and body to a status."""


@asynccontextmanager
async def ours(at_once: int) -> AsyncIterator[Post]:
    wall = Wall(SystemResolver(), allow=[ip_network("127.0.0.0/8")])
    sender = Sender(wall, clock=SystemClock())

    async def post(url: str, headers: dict[str, str], body: str) -> int | None:
        return (
            await sender.send(url, headers=headers, body=body.encode(), within=timedelta(seconds=15))
        ).status

    yield post
    await sender.close()


@asynccontextmanager
async def pyreqwest(at_once: int) -> AsyncIterator[Post]:
    async with ClientBuilder().http1_only().no_proxy().pool_max_idle_per_host(at_once).build() as client:

        async def post(url: str, headers: dict[str, str], body: str) -> int:
            return (await client.post(url).headers(headers).body_text(body).build().send()).status

        yield post


@asynccontextmanager
async def aiohttp_client(at_once: int) -> AsyncIterator[Post]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def post(url: str, headers: dict[str, str], body: str) -> int:
            async with session.post(
                url, headers=headers, data=body.encode(), allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status

        yield post


CLIENTS: dict[str, Callable[[int], AbstractAsyncContextManager[Post]]] = {
    "ours": ours,
    "pyreqwest": pyreqwest,
    "aiohttp": aiohttp_client,
}


async def main(client: str, url: str, count: int, at_once: int, headers: dict[str, str], body: str) -> None:
    turns = iter(range(count))
    async with CLIENTS[client](at_once) as post:
        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(_send(post, url, headers, body, turns))
        taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(taken), flush=True)


async def _send(post: Post, url: str, headers: dict[str, str], body: str, turns: Iterator[int]) -> None:
    for _ in turns:
        status = await post(url, headers, body)
        assert status == 204, f"the receiver answered {status}"


if __name__ == "__main__":
    message = json.load(sys.stdin)
    run = uvloop.run if "uvloop" in sys.argv[5:] else asyncio.run
    client, url, count, at_once = sys.argv[1:5]
    run(main(client, url, int(count), int(at_once), message["headers"], message["body"]))
    os._exit(0)  # pyreqwest's threads may outlive the interpreter, which then aborts
