"""`python -m tests.chaos [NAME]`: each case on a platform of its own; exit 1 on any fault."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from rich.console import Console

from tests.chaos.deliveries_storm import deliveries_storm
from tests.chaos.edge_cache import edge_cache
from tests.chaos.edge_fuzz import edge_fuzz
from tests.chaos.endpoint_down import endpoint_down
from tests.chaos.hanging_endpoints import hanging_endpoints
from tests.chaos.images_storm import images_storm
from tests.chaos.postgres_restarted import postgres_restarted
from tests.chaos.realtime import realtime_away, realtime_off
from tests.chaos.report import Report, show
from tests.chaos.stock_storm import stock_storm
from tests.chaos.sync_holes import sync_holes
from tests.chaos.sync_interleavings import sync_interleavings
from tests.chaos.sync_storm import sync_storm
from tests.chaos.worker_killed import worker_killed
from tests.chaos.xmin_held import xmin_held
from tests.flow.scene import Scene, scene
from tests.stack.errors import StackError

CASES: dict[str, Callable[[Scene], Awaitable[Report]]] = {
    "worker_killed": worker_killed,
    "postgres_restarted": postgres_restarted,
    "realtime_off": realtime_off,
    "realtime_away": realtime_away,
    "stock_storm": stock_storm,
    "deliveries_storm": deliveries_storm,
    "hanging_endpoints": hanging_endpoints,
    "xmin_held": xmin_held,
    "endpoint_down": endpoint_down,
    "images_storm": images_storm,
    "sync_holes": sync_holes,
    "sync_storm": sync_storm,
    "edge_cache": edge_cache,
    "edge_fuzz": edge_fuzz,
}
ALONE: dict[str, Callable[[], Awaitable[Report]]] = {"sync_interleavings": sync_interleavings}
"""Cases that need no platform."""
EVERY = {**CASES, **ALONE}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults, and what they cost.")
    parser.add_argument("name", nargs="?", choices=EVERY, help="one case alone; all without it")
    name = parser.parse_args(arguments).name
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 110)
    reports: list[Report] = []
    try:
        for case in [name] if name else EVERY:
            console.print(f"{case}: {(EVERY[case].__doc__ or '').strip()}")
            reports.append(asyncio.run(_play(case)))
            print(reports[-1].line(), flush=True)
    except (AssertionError, StackError) as error:
        console.print(f"{case}: {error}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    show(reports, console)
    return 1 if any(report.all_faults for report in reports) else 0


async def _play(case: str) -> Report:
    if case in ALONE:
        return await ALONE[case]()
    # only a crash of Postgres needs a disk that keeps its word
    durable = case in ("postgres_restarted", "stock_storm", "deliveries_storm")
    async with scene(durable=durable, with_functions=case.startswith("edge_")) as played:
        return await CASES[case](played)


if __name__ == "__main__":
    sys.exit(main())
