"""A steady load: changes committed on schedule, a few rows a transaction, and when each reached the sink."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

import psycopg

from tests.bench.sink_process import Arrival
from tests.flow.writers import CHANGE_MANY, Change, Commit

EVENTS = "select id, entity_id, version from public.events where tenant_id = %s and type = 'product.updated'"


async def offer(
    db_url: str, products: Sequence[uuid.UUID], *, per_second: float, seconds: float, rows: int = 10
) -> list[Commit]:
    """Changes `products` in turn, `rows` of them a transaction, late ones not skipped.

    Raises `AssertionError` when the machine cannot commit as fast as that: nothing was offered then.
    """
    if len(products) < rows:
        raise ValueError(f"{rows} rows a transaction need as many products, not {len(products)}")
    commits: list[Commit] = []
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        started = time.monotonic()
        for turn in range(round(per_second * seconds / rows)):
            await asyncio.sleep(max(0.0, started + turn * rows / per_second - time.monotonic()))
            of_turn = [products[(turn * rows + n) % len(products)] for n in range(rows)]
            changed = await (await connection.execute(CHANGE_MANY, (of_turn,))).fetchall()
            at = time.time()
            commits += [Commit(product, int(version), at) for product, version in changed]
        took = time.monotonic() - started
    assert took < seconds * 1.2 + 1, f"{per_second:g}/s for {seconds:g} s took {took:.1f} s to commit"
    return commits


async def reached(
    db_url: str, tenant: uuid.UUID, commits: Sequence[Commit], arrivals: Sequence[Arrival]
) -> list[float]:
    """Seconds from each commit to the last first arrival of its event, over all paths in `arrivals`.

    Raises `KeyError` for a change that never arrived.
    """
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        rows = await (await connection.execute(EVENTS, (tenant,))).fetchall()
    firsts: dict[tuple[str, str], float] = {}
    for arrival in arrivals:
        firsts.setdefault((arrival.path, arrival.message_id), arrival.at)
    lasts: dict[str, float] = {}
    for (_, message_id), at in firsts.items():
        lasts[message_id] = max(at, lasts.get(message_id, 0.0))
    events: dict[Change, str] = {(entity, int(version)): key for key, entity, version in rows}
    return [lasts[events[commit.change]] - commit.at for commit in commits]
