"""Users, sessions and refresh tokens in `auth.*`, as the role supabase_auth_admin."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]

CONNECTIONS = 8
REUSE_SECONDS = 10
"""A token used twice within this time is a client's race, not a theft: it gets the session's newest."""

BCRYPT_COST = 5
"""Hosted it is 10, which costs 60 ms a sign-in; here the passwords are the tests' own."""


@dataclass(frozen=True)
class Refreshed:
    user: Row
    session_id: str
    refresh_token: str


class AuthStore:
    """A connection a call: sign-in is rare, and a restarted Postgres leaves nothing stale behind."""

    def __init__(self, db_url: str) -> None:
        self._url = db_url
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def create(self, email: str, password: str, metadata: object, app_metadata: object) -> Row | None:
        """The new user, confirmed; None if the address is taken."""
        app = {
            "provider": "email",
            "providers": ["email"],
            **(app_metadata if isinstance(app_metadata, dict) else {}),
        }
        async with self._connect() as connection:
            user = await _one(
                connection,
                """insert into auth.users (instance_id, id, aud, role, email, encrypted_password,
                     email_confirmed_at, last_sign_in_at, created_at, updated_at,
                     raw_app_meta_data, raw_user_meta_data)
                   values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated',
                     'authenticated', %s, extensions.crypt(%s, extensions.gen_salt('bf', %s)),
                     now(), now(), now(), now(), %s, %s)
                   on conflict do nothing returning *""",
                (email, password, BCRYPT_COST, Jsonb(app), Jsonb(metadata)),
            )
            if user is not None:
                await connection.execute(
                    """insert into auth.identities
                         (provider_id, user_id, identity_data, provider, created_at, updated_at)
                       values (%s, %s, %s, 'email', now(), now())""",
                    (str(user["id"]), user["id"], Jsonb({"sub": str(user["id"]), "email": email})),
                )
        return user

    async def find_by_password(self, email: str, password: str) -> Row | None:
        async with self._connect() as connection:
            return await _one(
                connection,
                """update auth.users set last_sign_in_at = now(), updated_at = now()
                   where email = %s and encrypted_password = extensions.crypt(%s, encrypted_password)
                     and deleted_at is null and (banned_until is null or banned_until < now()) returning *""",
                (email, password),
            )

    async def find(self, user_id: str) -> Row | None:
        async with self._connect() as connection:
            return await _one(connection, "select * from auth.users where id::text = %s", (user_id,))

    async def delete(self, user_id: str) -> bool:
        async with self._connect() as connection:
            gone = await _one(
                connection, "delete from auth.users where id::text = %s returning id", (user_id,)
            )
        return gone is not None

    async def open_session(self, user_id: str) -> tuple[str, str]:
        session_id, token = str(uuid.uuid4()), _new_token()
        async with self._connect() as connection:
            await connection.execute(
                """insert into auth.sessions (id, user_id, created_at, updated_at)
                   values (%s, %s, now(), now())""",
                (session_id, user_id),
            )
            await _insert_token(connection, token, user_id, session_id, parent=None)
        return session_id, token

    async def rotate(self, token: str) -> Refreshed | Literal["reused", "unknown"]:
        """Revoke `token` and give its successor. One that was used before ends its whole session."""
        async with self._connect() as connection:
            old = await _one(
                connection,
                """select *, updated_at > now() - make_interval(secs => %s) as fresh
                   from auth.refresh_tokens where token = %s for update""",
                (REUSE_SECONDS, token),
            )
            if old is None:
                return "unknown"
            session_id, user_id = str(old["session_id"]), str(old["user_id"])
            successor = await self._successor(connection, old, session_id, user_id)
            user = await _one(connection, "select * from auth.users where id::text = %s", (user_id,))
        if user is None:
            return "unknown"
        return Refreshed(user, session_id, successor) if successor else "reused"

    async def end_sessions(self, user_id: str, session_id: str, scope: str) -> None:
        """`global` all of the user's, `local` this one, `others` all but this one."""
        async with self._connect() as connection:
            await connection.execute(
                """delete from auth.sessions where user_id::text = %(user)s and case %(scope)s
                     when 'local' then id::text = %(session)s
                     when 'others' then id::text <> %(session)s
                     else true end""",
                {"user": user_id, "session": session_id, "scope": scope},
            )

    async def _successor(
        self, connection: psycopg.AsyncConnection[Row], old: Row, session_id: str, user_id: str
    ) -> str | None:
        if not old["revoked"]:
            await connection.execute(
                "update auth.refresh_tokens set revoked = true, updated_at = now() where id = %s",
                (old["id"],),
            )
            token = _new_token()
            await _insert_token(connection, token, user_id, session_id, parent=old["token"])
            return token
        if old["fresh"]:
            newest = await _one(
                connection,
                """select token from auth.refresh_tokens
                   where session_id = %s and not revoked order by id desc limit 1""",
                (session_id,),
            )
            if newest is not None:
                return str(newest["token"])
        await connection.execute(
            "update auth.refresh_tokens set revoked = true, updated_at = now() where session_id = %s",
            (session_id,),
        )
        return None

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        """One transaction. Raises `psycopg.OperationalError` when Postgres is away."""
        async with (
            self._slots,
            await psycopg.AsyncConnection.connect(
                self._url, connect_timeout=5, row_factory=dict_row
            ) as connection,
        ):
            yield connection


async def _one(
    connection: psycopg.AsyncConnection[Row], query: Any, parameters: tuple[object, ...]
) -> Row | None:
    return await (await connection.execute(query, parameters)).fetchone()


async def _insert_token(
    connection: psycopg.AsyncConnection[Row], token: str, user_id: str, session_id: str, *, parent: str | None
) -> None:
    await connection.execute(
        """insert into auth.refresh_tokens
             (token, user_id, session_id, parent, revoked, created_at, updated_at)
           values (%s, %s, %s, %s, false, now(), now())""",
        (token, user_id, session_id, parent),
    )


def _new_token() -> str:
    return secrets.token_urlsafe(12)
