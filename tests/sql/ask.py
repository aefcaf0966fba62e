"""Short forms of what every SQL test does: ask for values, call the worker's RPCs, watch somebody wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.databases import Connection
from tests.eventually import eventually


async def rows(connection: Connection, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()


async def column(connection: Connection, query: LiteralString, *values: object) -> list[Any]:
    """The first value of every row."""
    return [row[0] for row in await rows(connection, query, *values)]


async def value(connection: Connection, query: LiteralString, *values: object) -> Any:
    """The first value of the first row; None without a row."""
    row = await (await connection.execute(query, values)).fetchone()
    return row and row[0]


async def rpc(connection: Connection, name: str, **arguments: object) -> Any:
    """A function of the schema `worker`; dicts, and lists of dicts, travel as JSON."""
    return await call(connection, "worker", name, **arguments)


async def call(connection: Connection, schema: str, name: str, **arguments: object) -> Any:
    """JSON is parsed, also where it is told as text."""
    answer = await told(connection, schema, name, **arguments)
    return json.loads(answer) if isinstance(answer, str) and answer.startswith("{") else answer


async def told(connection: Connection, schema: str, name: str, **arguments: object) -> Any:
    """The value as the database tells it."""
    query = sql.SQL("select {}({})").format(
        sql.Identifier(schema, name),
        sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(argument)) for argument in arguments),
    )
    row = await (await connection.execute(query, [_sent(given) for given in arguments.values()])).fetchone()
    return row and row[0]


def _sent(given: object) -> object:
    is_json = isinstance(given, dict) or (isinstance(given, list) and given and isinstance(given[0], dict))
    return json.dumps(given) if is_json else given


async def waits_for_a_lock(watcher: Connection, waiting: Connection) -> None:
    """Return once `waiting`, busy in a task, stands before a lock that somebody else holds."""
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    pid = waiting.info.backend_pid
    await eventually(lambda: value(watcher, query, pid), what=f"backend {pid} waits for a lock")


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Runs `work` beside the block; whatever happens in the block, it does not outlive it."""
    task = asyncio.create_task(work)
    try:
        yield task
        await task
    finally:
        task.cancel()


@asynccontextmanager
async def open_transaction(
    connection: Connection, isolation: LiteralString = "read committed"
) -> AsyncIterator[Connection]:
    """One that is left open for the block, has its snapshot, and is rolled back unless the block ended it."""
    await connection.execute(sql.SQL("begin isolation level {}").format(sql.SQL(isolation)))
    await connection.execute("select 1")
    try:
        yield connection
    finally:
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            await connection.rollback()
