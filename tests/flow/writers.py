"""Steady writers: what they were told is committed is what must arrive."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.eventually import eventually

CHANGE = "update public.products set price = price + 1 where id = %s returning version"
CHANGE_MANY = "update public.products set price = price + 1 where id = any (%s) returning id, version"

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Change = tuple[uuid.UUID, int]
"""A product and the version that a write gave it: what identifies an event from outside."""


@dataclass(frozen=True, slots=True)
class Commit:
    product: uuid.UUID
    version: int
    at: float
    """Unix seconds, read as soon as the commit had returned."""

    @property
    def change(self) -> Change:
        return (self.product, self.version)


async def burst(db_url: str, products: Sequence[uuid.UUID], *, rounds: int) -> list[Commit]:
    """Change every product `rounds` times, one transaction a round: a backlog at once."""
    commits: list[Commit] = []
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        for _ in range(rounds):
            cursor = await connection.execute(CHANGE_MANY, (list(products),))
            rows, at = await cursor.fetchall(), time.time()
            commits += [Commit(product, int(version), at) for product, version in rows]
    assert len(commits) == rounds * len(products), "some of the products are not there"
    return commits


class Writers:
    """`connections` sessions that commit one-row updates, each to products of its own, at a steady rate.

    A session that Postgres drops comes back; what it was about to commit then is in doubt, and only counted.
    """

    def __init__(self, db_url: str, products: Sequence[uuid.UUID], *, connections: int = 4) -> None:
        if len(products) < connections:
            raise ValueError(f"{connections} writers need as many products, not {len(products)}")
        self._db_url = db_url
        self._shares = [products[n::connections] for n in range(connections)]
        self.commits: list[Commit] = []
        self.in_doubt = 0

    async def write(self, *, count: int, per_second: float) -> list[Commit]:
        """Commit `count` changes on schedule (late ones are not skipped); returns when all are made."""
        before = len(self.commits)
        turns = iter(range(count))
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for share in self._shares:
                group.create_task(self._session(share, turns, started, per_second))
        return self.commits[before:]

    async def _session(
        self, share: Sequence[uuid.UUID], turns: Iterator[int], started: float, per_second: float
    ) -> None:
        changes = zip(turns, itertools.cycle(share), strict=False)
        change = next(changes, None)
        while change is not None:
            async with await self._connect() as connection:
                while change is not None:
                    turn, product = change
                    await asyncio.sleep(max(0.0, started + turn / per_second - time.monotonic()))
                    try:
                        await self._commit(connection, product)
                    except psycopg.OperationalError:
                        self.in_doubt += 1
                        break  # the same change again, on another connection
                    change = next(changes, None)

    async def _commit(self, connection: Connection, product: uuid.UUID) -> None:
        cursor = await connection.execute(CHANGE, (product,))
        at = time.time()
        row = await cursor.fetchone()
        assert row is not None, f"product {product} is not there"
        self.commits.append(Commit(product, int(row[0]), at))

    async def _connect(self) -> Connection:
        async def attempt() -> Connection | None:
            try:
                return await psycopg.AsyncConnection.connect(self._db_url, autocommit=True)
            except psycopg.OperationalError:
                return None

        connection = await eventually(attempt, 60.0, what="Postgres takes connections", interval=0.1)
        assert connection is not None
        return connection
