"""The round trip of an RPC through the worker's own client, PostgREST and the gateway before it."""

from __future__ import annotations

import asyncio
import time

from tests.bench.connections import direct, gateway
from tests.bench.figures import Line, per_second, spread, timed
from tests.flow.scene import Scene

TIMES = 1000
AT_ONCE = 16


async def rpc(scene: Scene) -> Line:
    """`worker.schema_version`, beside `select 1` directly."""
    async with gateway(scene.platform.addresses) as client, direct(scene.platform.db_url) as connection:
        through = await timed(lambda: client.call("schema_version"), TIMES)
        bare = await timed(lambda: connection.execute("select 1"), TIMES)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(timed(lambda: client.call("schema_version"), TIMES // AT_ONCE, warm_up=0))
        rate = per_second(TIMES // AT_ONCE * AT_ONCE, time.perf_counter() - started)
    return {**spread(through), f"{AT_ONCE}_at_once_per_s": rate, "reference": {"select_1": spread(bare)}}
