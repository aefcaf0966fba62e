"""The rows of `storage.buckets` and `storage.objects`, seen and changed as the caller of a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.stack.storage.problems import from_database

Row = dict[str, Any]

CONNECTIONS = 16
OPTIONS = "-c statement_timeout=30s -c lock_timeout=5s"

BECOME: LiteralString = """
select set_config('role', %(role)s, true), set_config('request.jwt.claim.role', %(role)s, true),
  set_config('request.jwt.claim.sub', %(sub)s, true), set_config('request.jwt.claims', %(claims)s, true),
  set_config('storage.operation', %(operation)s, true), set_config('storage.allow_delete_query', 'true', true)
"""

INSERT: LiteralString = """
insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values (%(bucket)s, %(name)s, %(version)s, %(owner)s, %(owner_id)s, %(metadata)s, %(user_metadata)s)
"""

UPSERT: LiteralString = (
    INSERT
    + """
on conflict (name, bucket_id) do update set version = excluded.version, metadata = excluded.metadata,
  user_metadata = excluded.user_metadata, owner = excluded.owner, owner_id = excluded.owner_id
returning *
"""
)

# One level below the folder `prefix`, folders first.
LIST: LiteralString = """
with below as (
  select *, path_tokens[%(level)s] as entry, array_length(path_tokens, 1) > %(level)s as is_folder
  from storage.objects
  where bucket_id = %(bucket)s and starts_with(lower(name), lower(%(prefix)s) || lower(%(search)s))
), entries as (
  select distinct entry as name, null::uuid as id, null::timestamptz as updated_at,
    null::timestamptz as created_at, null::timestamptz as last_accessed_at, null::jsonb as metadata
  from below where is_folder
  union all
  select entry, id, updated_at, created_at, last_accessed_at, metadata from below where not is_folder
)
select * from entries order by (id is null) desc, {key} limit %(limit)s offset %(offset)s
"""


@dataclass(frozen=True)
class Caller:
    role: str
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str | None:
        sub = self.claims.get("sub")
        return str(sub) if sub else None


SERVICE = Caller("service_role", {"role": "service_role"})


@dataclass(frozen=True)
class Upload:
    """What an object's row is to say."""

    bucket: str
    name: str
    owner: str | None
    version: str = "1"
    metadata: Row | None = None
    user_metadata: Row | None = None

    def values(self) -> Row:
        return {
            "bucket": self.bucket,
            "name": self.name,
            "version": self.version,
            "owner": self.owner if _is_uuid(self.owner) else None,
            "owner_id": self.owner,
            "metadata": Jsonb(self.metadata) if self.metadata is not None else None,
            "user_metadata": Jsonb(self.user_metadata) if self.user_metadata is not None else None,
        }


class StorageRows:
    """All raise `StorageProblem`. A connection a transaction, so a restarted Postgres leaves none stale."""

    def __init__(self, db_url: str) -> None:
        self._url = db_url
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def buckets(self, caller: Caller, bucket: str | None = None) -> list[Row]:
        """Those that the caller may see; of one id, if one is given."""
        query = "select * from storage.buckets where %s::text is null or id = %s order by id"
        async with self._as(caller, "storage.bucket.get") as db:
            return await (await db.execute(query, (bucket, bucket))).fetchall()

    async def find(self, caller: Caller, bucket: str, name: str) -> Row | None:
        async with self._as(caller, "storage.object.get") as db:
            query = "select * from storage.objects where name = %s and bucket_id = %s"
            return await (await db.execute(query, (name, bucket))).fetchone()

    async def names(self, caller: Caller, bucket: str, names: list[str]) -> set[str]:
        """Which of `names` the caller may see."""
        async with self._as(caller, "storage.object.sign_many") as db:
            query = "select name from storage.objects where bucket_id = %s and name = any (%s)"
            return {row["name"] async for row in await db.execute(query, (bucket, names))}

    async def check(self, caller: Caller, upload: Upload, *, upsert: bool) -> None:
        """Writes the row as the caller and takes it back: whether it could is all that counts."""
        async with self._as(caller, "storage.object.upload") as db, db.transaction(force_rollback=True):
            await db.execute(UPSERT if upsert else INSERT, upload.values())

    async def complete(self, upload: Upload) -> tuple[Row, str | None]:
        """The row as it is now, and the version that it replaces. The bytes must be there already."""
        async with self._as(SERVICE, "storage.object.upload") as db:
            lock = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"
            await db.execute(lock, (f"{upload.bucket}/{upload.name}",))
            query = "select version from storage.objects where name = %s and bucket_id = %s for update"
            old = await (await db.execute(query, (upload.name, upload.bucket))).fetchone()
            row = await (await db.execute(UPSERT, upload.values())).fetchone()
        assert row is not None
        return row, old["version"] if old else None

    async def delete(self, caller: Caller, bucket: str, names: list[str]) -> list[Row]:
        """The rows that are gone: those that the caller may delete."""
        async with self._as(caller, "storage.object.delete_many") as db:
            query = "delete from storage.objects where bucket_id = %s and name = any (%s) returning *"
            return await (await db.execute(query, (bucket, names))).fetchall()

    async def list(self, caller: Caller, bucket: str, **wanted: Any) -> list[Row]:
        """`wanted`: prefix (a folder with its slash, or empty), search, limit, offset, column, order."""
        key = psycopg.sql.SQL("{} {}, name").format(
            psycopg.sql.Identifier(wanted.pop("column")), psycopg.sql.SQL(wanted.pop("order"))
        )
        values = {"bucket": bucket, "level": wanted["prefix"].count("/") + 1, **wanted}
        async with self._as(caller, "storage.object.list") as db:
            query = psycopg.sql.SQL(LIST).format(key=key)
            return await (await db.execute(query, values)).fetchall()

    @contextlib.asynccontextmanager
    async def _as(self, caller: Caller, operation: str) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        """One transaction as the caller, set up as the real server does."""
        try:
            async with (
                self._slots,
                await psycopg.AsyncConnection.connect(
                    self._url, connect_timeout=5, options=OPTIONS, row_factory=dict_row
                ) as db,
            ):
                claims = json.dumps(caller.claims)
                who = {"role": caller.role, "sub": caller.owner or "", "claims": claims}
                await db.execute(BECOME, {**who, "operation": operation})
                yield db
        except psycopg.Error as error:
            raise from_database(error) from error


def _is_uuid(text: str | None) -> bool:
    try:
        return uuid.UUID(text or "").version is not None
    except ValueError:
        return False
