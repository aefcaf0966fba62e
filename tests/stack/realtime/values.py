"""Values of changes as JSON text: what is plain is rendered here, everything else by Postgres' `to_jsonb`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection, sql

from tests.stack.realtime.frames import compact

BOOL, BYTEA = 16, 17
INTEGERS = frozenset({20, 21, 23})
FLOATS = frozenset({700, 701})
NUMERIC = 1700
STRINGS = frozenset({19, 25, 1043, 2950})  # name, text, varchar, uuid
NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})

Row = dict[str, str | None]
"""Values as Postgres' text by column, without those that the log does not hold."""
TypedText = tuple[int, str]
"""The oid of a type, and a value's text form."""


class TypeNames:
    """The names of types, quoted for use in a cast: `bigint`, `public.mood`, `character`.

    Without a type modifier: that is why `char(5)` shows its first character only, here as on the real server.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    async def load(self, connection: AsyncConnection[Any], oids: Iterable[int]) -> None:
        missing = [oid for oid in set(oids) if oid not in self._names]
        if missing:
            cursor = await connection.execute(
                "select t, t::regtype::text from unnest(%s::oid[]) t", [missing]
            )
            self._names.update(await cursor.fetchall())

    def __getitem__(self, oid: int) -> str:
        return self._names[oid]


async def render(
    connection: AsyncConnection[Any], names: TypeNames, values: Iterable[TypedText]
) -> dict[TypedText, str]:
    """JSON text by typed text. Raises `psycopg.Error` when a type is gone or refuses its value by now."""
    rendered: dict[TypedText, str] = {}
    others: dict[int, list[str]] = defaultdict(list)
    for oid, text in set(values):
        plain = _plain(oid, text)
        if plain is None:
            others[oid].append(text)
        else:
            rendered[oid, text] = plain
    await names.load(connection, others)
    for oid, texts in others.items():
        query = sql.SQL(
            "select to_jsonb(v::{})::text from unnest(%s::text[]) with ordinality u(v, n) order by n"
        )
        type_ = sql.SQL(names[oid])
        cursor = await connection.execute(query.format(type_), [texts])
        for text, (json_text,) in zip(texts, await cursor.fetchall(), strict=True):
            rendered[oid, text] = json_text
    return rendered


def text_array(values: Iterable[str | None]) -> sql.Composed:
    """A literal, as beside a parameter a `%` in a name or a pattern would read as a placeholder."""
    return sql.SQL("{}::text[]").format(sql.Literal(list(values)))


def json_object(values: dict[str, str]) -> str:
    """An object of rendered values, its keys ordered as jsonb orders them: by length, then by bytes."""
    keys = sorted(values, key=lambda key: (len(key.encode()), key.encode()))
    return "{" + ", ".join(f"{compact(key)}: {values[key]}" for key in keys) + "}"


def _plain(oid: int, text: str) -> str | None:
    if oid in INTEGERS:
        return text
    if oid in STRINGS:
        return compact(text)
    if oid == BOOL:
        return "true" if text == "t" else "false"
    if oid == BYTEA:
        return compact(text.removeprefix("\\x"))
    if oid == NUMERIC or oid in FLOATS:
        return "null" if text in NOT_FINITE else f"{Decimal(text):f}" if oid in FLOATS else text
    return None
