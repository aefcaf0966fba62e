"""`python -m tests.bench.bare_client URL COUNT AT_ONCE`: the sending path's client alone, in its own process.

Headers and body come as JSON on standard input; the seconds that it took go to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator

from pyreqwest.client import Client, ClientBuilder


async def main(url: str, count: int, at_once: int, headers: dict[str, str], body: str) -> float:
    turns = iter(range(count))
    async with ClientBuilder().http1_only().no_proxy().pool_max_idle_per_host(at_once).build() as client:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(_send(client, url, headers, body, turns))
        return time.perf_counter() - started


async def _send(client: Client, url: str, headers: dict[str, str], body: str, turns: Iterator[int]) -> None:
    for _ in turns:
        response = await client.post(url).headers(headers).body_text(body).build().send()
        assert response.status == 204, f"the receiver answered {response.status}"


if __name__ == "__main__":
    message = json.load(sys.stdin)
    arguments = (sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), message["headers"], message["body"])
    print(asyncio.run(main(*arguments)), flush=True)
    os._exit(0)  # the client's threads may outlive the interpreter, which then aborts
