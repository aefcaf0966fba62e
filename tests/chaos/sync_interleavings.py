"""A million histories of three offline clients and a server: everybody ends equal, and no edit is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import structlog

from tests.chaos.report import Fact, Report
from tests.flow.ledger import Judgement
from tests.sync.interleaving import Played, play_histories

AT_A_TIME = 2000


async def sync_interleavings(*, histories: int = 1_000_000, processes: int | None = None) -> Report:
    """Each: 12 random steps of three offline clients, a worker and others, and then all must be equal."""
    started = time.monotonic()
    loop, total = asyncio.get_running_loop(), Played()
    seeds = [range(first, min(first + AT_A_TIME, histories)) for first in range(0, histories, AT_A_TIME)]
    with ProcessPoolExecutor(
        processes or os.cpu_count(), mp_context=get_context("spawn"), initializer=_quiet
    ) as pool:
        for played in asyncio.as_completed(
            [loop.run_in_executor(pool, play_histories, some) for some in seeds]
        ):
            total = total.plus(await played)
    seconds = time.monotonic() - started
    facts: dict[str, Fact] = {
        "histories": total.histories,
        "histories_per_s": round(total.histories / seconds),
        "edits": total.edits,
        "conflicts": total.conflicts,
        "snapshots": total.snapshots,
    }
    # no event is delivered here: what counts are edits that were made, and those that came
    judgement = Judgement(total.edits, 0, 0, 0, 0)
    return Report("sync_interleavings", seconds, judgement, facts, total.faults[:10])


def _quiet() -> None:
    # each snapshot would say that it is one
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
