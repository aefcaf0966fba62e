"""Stored generated columns: pgoutput leaves them out, the real server shows them; so they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection, sql

from tests.stack.realtime.pgoutput import Column, Relation
from tests.stack.realtime.values import Row, TypeNames, text_array


async def add_generated(
    connection: AsyncConnection[Any], types: TypeNames, relation: Relation, rows: Sequence[Row]
) -> Relation:
    """Completes `rows`, whole rows of the log, in place; the relation with the columns that were added.

    Raises `psycopg.Error` when the table's columns are others by now.
    """
    cursor = await connection.execute(
        """
        select a.attname, a.atttypid::int8, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = %s and a.attgenerated = 's' and not a.attisdropped order by a.attnum
        """,
        [relation.oid],
    )
    expressions = await cursor.fetchall()
    if not expressions or not rows:
        return relation
    await types.load(connection, [column.type_oid for column in relation.columns])
    query = _query(relation, types, [expression for _, _, expression in expressions], rows)
    for row, values in zip(rows, await (await connection.execute(query)).fetchall(), strict=True):
        row.update({name: value for (name, _, _), value in zip(expressions, values, strict=True)})
    added = tuple(Column(name, oid, is_key=False) for name, oid, _ in expressions)
    return replace(relation, columns=relation.columns + added)


def _query(
    relation: Relation, types: TypeNames, expressions: Sequence[str], rows: Sequence[Row]
) -> sql.Composed:
    """The expressions over the rows, which come as one array of texts a column."""
    raw = [sql.Identifier(f"k{position}") for position in range(len(relation.columns))]
    typed = [
        sql.SQL("raw.{}::{} as {}").format(name, sql.SQL(types[column.type_oid]), sql.Identifier(column.name))
        for name, column in zip(raw, relation.columns, strict=True)
    ]
    return sql.SQL(
        "select {} from unnest({}) with ordinality as raw({}, n), lateral (select {}) as t order by raw.n"
    ).format(
        sql.SQL(", ").join(sql.SQL("({})::text").format(sql.SQL(e)) for e in expressions),
        sql.SQL(", ").join(text_array(row.get(c.name) for row in rows) for c in relation.columns),
        sql.SQL(", ").join(raw),
        sql.SQL(", ").join(typed),
    )
