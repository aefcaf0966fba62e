"""Who may see what of a change, asked of the database as it is when the change is polled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql

from tests.stack.realtime.database import set_local
from tests.stack.realtime.pgoutput import Relation
from tests.stack.realtime.values import TypeNames, text_array


class TableGoneError(Exception):
    """A changed table does not exist any more."""


@dataclass(frozen=True, slots=True)
class TableAccess:
    """One table, as one role may see it now."""

    row_security: bool
    primary_key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    """Name and type name of the columns that the role may SELECT, in the order of the table."""
    selectable: frozenset[str]
    """Those of the change's columns that the role may SELECT."""


async def table_access(connection: AsyncConnection[Any], relation: Relation, role: str) -> TableAccess:
    """Raises `TableGoneError`; `psycopg.Error` when a column of the change was dropped since."""
    cursor = await connection.execute(
        """
        select
          c.relrowsecurity,
          array(select a.attname::text from pg_index i
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
                where i.indrelid = c.oid and i.indisprimary order by a.attnum),
          array(select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  and has_column_privilege(%(role)s::name, c.oid, a.attnum, 'select') order by a.attnum),
          array(select t.typname::text from pg_attribute a join pg_type t on t.oid = a.atttypid
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  and has_column_privilege(%(role)s::name, c.oid, a.attnum, 'select') order by a.attnum),
          array(select n from unnest(%(names)s::text[]) n
                where has_column_privilege(%(role)s::name, c.oid, n, 'select'))
        from pg_class c where c.oid = %(table)s
        """,
        {"role": role, "table": relation.oid, "names": [column.name for column in relation.columns]},
    )
    row = await cursor.fetchone()
    if row is None:
        raise TableGoneError(f"{relation.schema}.{relation.table}")
    security, key, names, types, selectable = row
    return TableAccess(security, tuple(key), tuple(zip(names, types, strict=True)), frozenset(selectable))


async def visible_rows(
    connection: AsyncConnection[Any],
    types: TypeNames,
    relation: Relation,
    key: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    *,
    role: str,
    claims: str,
) -> frozenset[tuple[str, ...]]:
    """Those of `rows` (texts of the primary key) that the role with these claims finds in the table."""
    oids = {column.name: column.type_oid for column in relation.columns}
    await types.load(connection, oids.values())
    names = [sql.Identifier(f"k{position}") for position in range(len(key))]
    conditions = [
        sql.SQL("t.{} = v.{}::{}").format(sql.Identifier(column), name, sql.SQL(types[oids[column]]))
        for column, name in zip(key, names, strict=True)
    ]
    query = sql.SQL("select {} from unnest({}) as v({}) where exists (select 1 from {} t where {})").format(
        sql.SQL(", ").join(sql.SQL("v.{}").format(name) for name in names),
        sql.SQL(", ").join(text_array(values) for values in zip(*rows, strict=True)),
        sql.SQL(", ").join(names),
        sql.Identifier(relation.schema, relation.table),
        sql.SQL(" and ").join(conditions),
    )
    async with connection.transaction(force_rollback=True):
        await set_local(connection, {"role": role, "request.jwt.claims": claims})
        cursor = await connection.execute(query)
        return frozenset(await cursor.fetchall())
