"""Throw-away databases for SQL tests, and how to be somebody in one."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.eventually import DidNotHappenError, eventually
from tests.stack.template import TEMPLATE_DATABASE

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Database:
    """One clone of the migrated database; `connect` closes with it."""

    def __init__(self, admin_url: str, name: str) -> None:
        self._admin_url = admin_url
        self.name = name
        self._connections: list[Connection] = []

    def url(self, role: str = "postgres") -> str:
        parts = urlsplit(self._admin_url)
        place = f"{role}:{parts.password}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=place, path=f"/{self.name}"))

    async def connect(self, role: str = "postgres") -> Connection:
        """One more connection, in autocommit; `supabase_admin` is the superuser."""
        connection = await psycopg.AsyncConnection.connect(self.url(role), autocommit=True)
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        while self._connections:
            await self._connections.pop().close()


@contextlib.asynccontextmanager
async def cloned_database(admin_url: str, template: str = TEMPLATE_DATABASE) -> AsyncIterator[Database]:
    """`admin_url` is a superuser's of a cluster with the template; the clone is dropped at the end.

    `template` may be another clone, that nobody is connected to: what is long to fill is filled once.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin:
        # Copying files costs a quarter less than logging pages: they are in memory, and nothing is synced.
        create = sql.SQL("create database {} template {} owner postgres strategy file_copy")
        await admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        database = Database(admin_url, name)
        try:
            yield database
        finally:
            await database.close()
            # Sessions take a moment to end, and a drop that finds one naps for 100 ms before it looks again.
            with contextlib.suppress(DidNotHappenError):
                await eventually(lambda: _is_left(admin, name), 1, interval=0.002)
            await admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def _is_left(admin: Connection, name: str) -> bool:
    sessions = await admin.execute(
        "select from pg_stat_activity where datname = %s and backend_type = 'client backend'", (name,)
    )
    return sessions.rowcount == 0


@contextlib.asynccontextmanager
async def acting_as(
    connection: Connection,
    principal: uuid.UUID | str | None = None,
    *,
    role: str = "authenticated",
    **claims: object,
) -> AsyncIterator[Connection]:
    """One transaction as PostgREST runs it: the role, and the claims of a JWT whose `sub` is `principal`.

    `principal=None` is somebody without `sub`, such as `role="anon"` or `role="service_role"`.
    """
    claims = {"role": role, **claims}
    if principal is not None:
        claims["sub"] = str(principal)
    async with connection.transaction():
        await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        await connection.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
        yield connection
        # Deferred checks belong to the caller's role too.
        await connection.execute("set constraints all immediate")


async def add_user(connection: Connection, email: str | None = None) -> uuid.UUID:
    """A row of auth.users, as signing up makes one; returns its id."""
    user_id = uuid.uuid4()
    await connection.execute(
        "insert into auth.users (id, aud, role, email, created_at, updated_at)"
        " values (%s, 'authenticated', 'authenticated', %s, now(), now())",
        (user_id, email or f"{user_id}@example.com"),
    )
    return user_id
