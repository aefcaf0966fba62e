"""`python -m tests.bench [NAME]`: each benchmark on a platform of its own, one line of JSON each."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence

from tests.bench.clients import clients
from tests.bench.deliveries import deliveries
from tests.bench.dispatch import dispatch
from tests.bench.edge import edge
from tests.bench.empty_look import empty_look
from tests.bench.fan_out import fan_out
from tests.bench.figures import Line
from tests.bench.images import images
from tests.bench.latency import latency
from tests.bench.products_page import products_page
from tests.bench.reserve import reserve
from tests.bench.rpc import rpc
from tests.bench.sync import sync
from tests.flow.scene import Scene, scene
from tests.stack.errors import StackError

BENCHMARKS: dict[str, Callable[[Scene], Awaitable[Line]]] = {
    "rpc": rpc,
    "empty_look": empty_look,
    "dispatch": dispatch,
    "latency": latency,
    "deliveries": deliveries,
    "clients": clients,
    "fan_out": fan_out,
    "products_page": products_page,
    "reserve": reserve,
    "sync": sync,
    "images": images,
    "edge": edge,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What it costs.")
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="one benchmark alone; all without it")
    name = parser.parse_args(arguments).name
    try:
        for bench in [name] if name else BENCHMARKS:
            print(json.dumps({"bench": bench, **asyncio.run(_measure(bench))}), flush=True)
    except (AssertionError, StackError) as error:
        print(f"bench: {bench}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _measure(bench: str) -> Line:
    async with scene(with_functions=bench == "edge") as played:
        return await BENCHMARKS[bench](played)


if __name__ == "__main__":
    sys.exit(main())
