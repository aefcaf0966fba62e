"""A steady load: changes committed on schedule, a few rows a transaction, and when it reached the sink."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from operator import attrgetter

import psycopg

from tests.bench.sink_process import Arrival
from tests.flow.writers import CHANGE_MANY, Change, Commit

EVENTS = "select id, entity_id, version from public.events where tenant_id = %s and type = 'product.updated'"


async def offer(
    db_url: str,
    products: Sequence[uuid.UUID],
    *,
    per_second: float,
    seconds: float,
    rows: int = 10,
    writers: int = 1,
) -> list[Commit]:
    """Changes `products` in turn, `rows` of them a transaction, late ones not skipped; in order of commit.

    `writers` take turns, each over a connection of its own: one alone waits for each of its commits.
    """
    if len(products) < rows * writers:
        raise ValueError(f"{rows} rows a transaction need {rows * writers} products, not {len(products)}")
    commits: list[Commit] = []
    turns = round(per_second * seconds / rows)
    started = time.monotonic()

    async def write(first: int) -> None:
        async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
            for turn in range(first, turns, writers):
                await asyncio.sleep(max(0.0, started + turn * rows / per_second - time.monotonic()))
                of_turn = [products[(turn * rows + n) % len(products)] for n in range(rows)]
                changed = await (await connection.execute(CHANGE_MANY, (of_turn,))).fetchall()
                at = time.time()
                commits.extend(Commit(product, int(version), at) for product, version in changed)

    async with asyncio.TaskGroup() as group:
        for first in range(writers):
            group.create_task(write(first))
    return sorted(commits, key=attrgetter("at"))


def rate(commits: Sequence[Commit]) -> float:
    """Changes a second that were really committed: fewer than asked for when the machine is too slow."""
    return (len(commits) - 1) / max(commits[-1].at - commits[0].at, 1e-9)


async def by_path(
    db_url: str, tenant: uuid.UUID, commits: Sequence[Commit], arrivals: Sequence[Arrival]
) -> list[tuple[str, float]]:
    """For each delivery of `commits` that came its path, and the seconds from commit to first arrival."""
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        rows = await (await connection.execute(EVENTS, (tenant,))).fetchall()
    committed = {commit.change: commit.at for commit in commits}
    changes: dict[str, Change] = {key: (entity, int(version)) for key, entity, version in rows}
    firsts: dict[tuple[str, str], float] = {}
    for arrival in arrivals:
        if changes.get(arrival.message_id) in committed:
            firsts.setdefault((arrival.path, arrival.message_id), arrival.at)
    return [(path, at - committed[changes[key]]) for (path, key), at in firsts.items()]
