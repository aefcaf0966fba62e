"""The two ways to the database that benchmarks compare: directly, and as the worker goes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg

from tests.stack.addresses import Addresses
from worker.config import Settings
from worker.gateway.client import SupabaseRpc

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@contextlib.asynccontextmanager
async def direct(url: str) -> AsyncIterator[Connection]:
    """A session in autocommit, statements prepared from the first execution on."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) as connection:
        yield connection


def gateway(addresses: Addresses) -> SupabaseRpc:
    """The worker's own client."""
    settings = {"supabase_url": addresses.api_url, "SUPABASE_SECRET_KEY": addresses.secret_key}
    return SupabaseRpc(Settings.model_validate(settings))


async def dispatch_all(connection: Connection, *, limit: int = 2000) -> int:
    """Moves the whole outbox to the log, as the worker would; how many changes that were."""
    moved, mark = 0, "0"
    while True:
        cursor = await connection.execute("select worker.dispatch_outbox(%s, %s::xid8)", (limit, mark))
        row = await cursor.fetchone()
        assert row is not None
        moved += int(row[0]["events"])
        mark = row[0]["mark"]
        if row[0]["drained"]:
            return moved
