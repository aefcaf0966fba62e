"""What a token may do with a private channel: the policies on `realtime.messages`, asked with probe rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.errors import CheckViolation

from tests.stack.realtime.database import Session, set_local
from tests.stack.realtime.frames import compact
from tests.stack.realtime.tokens import Token


class MissingPartitionError(Exception):
    """Today's partition of `realtime.messages` is missing, so no probe row can be written."""


class DatabaseUnavailableError(Exception):
    """Postgres could not be asked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom the policies see: the token's claims and the headers of the handshake."""

    token: Token
    headers: Mapping[str, str]

    def settings(self, topic: str) -> dict[str, str]:
        claims = self.token.claims
        return {
            "role": self.token.role,
            "realtime.topic": topic,
            "request.jwt.claims": compact(claims),
            "request.jwt.claim.sub": str(claims.get("sub", "")),
            "request.jwt.claim.role": self.token.role,
            "request.headers": compact(dict(self.headers)),
        }


class Authorizer:
    """Asks Postgres. Every probe is rolled back."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def readable(self, caller: Caller, topic: str, extensions: Sequence[str]) -> frozenset[str]:
        """Those of `extensions` whose probe rows the caller can select. An error of a policy denies all.

        Raises `MissingPartitionError`, `DatabaseUnavailableError`.
        """
        insert = "insert into realtime.messages (topic, extension) select %s, unnest(%s::text[]) returning id"
        select = "select extension from realtime.messages where id = any(%s)"
        try:
            async with self._session.scratch() as connection:
                probes = await _rows(connection, insert, [topic, list(extensions)])
                await set_local(connection, caller.settings(topic))
                rows = await _rows(connection, select, [[row[0] for row in probes]])
        except CheckViolation as error:
            raise MissingPartitionError from error
        except psycopg.OperationalError as error:
            if error.sqlstate is None or error.sqlstate.startswith("57P"):
                raise DatabaseUnavailableError from error
            return frozenset()
        except psycopg.Error:
            return frozenset()
        return frozenset(row[0] for row in rows)

    async def writable(self, caller: Caller, topic: str, extension: str) -> bool:
        """Whether the caller may insert such a row. Any error denies."""
        try:
            async with self._session.scratch() as connection:
                await set_local(connection, caller.settings(topic))
                await connection.execute(
                    "insert into realtime.messages (topic, extension) values (%s, %s)", [topic, extension]
                )
        except psycopg.Error:
            return False
        return True


async def _rows(
    connection: AsyncConnection[Any], query: LiteralString, parameters: Sequence[Any]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(sql.SQL(query), parameters)
    return await cursor.fetchall()
