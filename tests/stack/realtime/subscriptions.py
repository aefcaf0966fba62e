"""Subscriptions: bindings that Postgres accepted, by the tables they match."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection

from tests.stack.realtime.bindings import Binding
from tests.stack.realtime.filters import MAX_IN_VALUES, FilterError, check_filter
from tests.stack.realtime.frames import compact

if TYPE_CHECKING:
    from tests.stack.realtime.channel import Channel

PUBLICATION = "supabase_realtime"
REFUSED = "Unable to subscribe to changes with given parameters."
Tables = frozenset[tuple[int, str, str]]
"""Oid, schema and name of published tables."""


class SubscriptionError(Exception):
    """A binding that cannot be subscribed to; the message is what the client is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One binding of one channel, with the claims it was made with."""

    channel: Channel
    binding: Binding
    position: int
    """Of the binding in the join."""
    role: str
    claims: str
    tables: frozenset[int]


class Registry:
    """All subscriptions, by table."""

    def __init__(self) -> None:
        self._by_channel: dict[Channel, list[Subscription]] = {}
        self._by_table: dict[int, list[Subscription]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._by_channel)

    @property
    def channels(self) -> list[Channel]:
        return list(self._by_channel)

    def of_table(self, oid: int) -> Sequence[Subscription]:
        return self._by_table.get(oid, ())

    def of(self, channel: Channel) -> Sequence[Subscription]:
        return self._by_channel.get(channel, ())

    def put(self, channel: Channel, subscriptions: list[Subscription]) -> None:
        self._by_channel[channel] = subscriptions
        self._index()

    def drop(self, channel: Channel) -> None:
        if self._by_channel.pop(channel, None) is not None:
            self._index()

    def _index(self) -> None:
        self._by_table.clear()
        for subscriptions in self._by_channel.values():
            for subscription in subscriptions:
                for oid in subscription.tables:
                    self._by_table[oid].append(subscription)


async def published_tables(connection: AsyncConnection[Any]) -> Tables:
    cursor = await connection.execute(
        """
        select c.oid::int8, p.schemaname, p.tablename
        from pg_publication_tables p
        join pg_namespace n on n.nspname = p.schemaname
        join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
        where p.pubname = %s
        """,
        [PUBLICATION],
    )
    return frozenset(await cursor.fetchall())


async def check_bindings(
    connection: AsyncConnection[Any], channel: Channel, bindings: Iterable[Binding], tables: Tables
) -> list[Subscription]:
    """Subscriptions for all bindings. Raises `SubscriptionError` for the first that fails: one fails all."""
    token = channel.token
    claims = compact(token.claims)
    made = []
    for position, binding in enumerate(bindings):
        matched = matching(tables, binding)
        if not matched:
            raise SubscriptionError(
                f"{REFUSED} Please check Realtime is enabled for the given connect parameters: "
                + binding.describe()
            )
        try:
            await connection.execute("select quote_ident(%s)::regrole", [token.role])
            for oid in matched:
                await _check_columns(connection, oid, binding, token.role)
        except psycopg.OperationalError:
            raise
        except (FilterError, psycopg.Error) as error:
            raise SubscriptionError(
                f"{REFUSED} An exception happened so please check your connect parameters: "
                f"{binding.describe()}. Exception: {_explain(error)}"
            ) from None
        made.append(Subscription(channel, binding, position, token.role, claims, matched))
    return made


def matching(tables: Tables, binding: Binding) -> frozenset[int]:
    schema, table = _pattern(binding.schema), _pattern(binding.table)
    return frozenset(oid for oid, s, t in tables if schema.fullmatch(s) and table.fullmatch(t))


def _pattern(text: str) -> re.Pattern[str]:
    """SQL's LIKE, in which `%` and `_` are wildcards; a lone `*` is everything."""
    if text == "*":
        return re.compile(".*", re.DOTALL)
    parts = [".*" if char == "%" else "." if char == "_" else re.escape(char) for char in text]
    return re.compile("".join(parts), re.DOTALL)


async def _check_columns(connection: AsyncConnection[Any], oid: int, binding: Binding, role: str) -> None:
    if not binding.filters and not binding.select:
        return
    cursor = await connection.execute(
        """
        select a.attname, a.atttypid::regtype::text from pg_attribute a
        where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
          and has_column_privilege(%s::name, a.attrelid, a.attnum, 'select')
        """,
        [oid, role],
    )
    types: dict[str, str] = dict(await cursor.fetchall())
    for name in binding.select or ():
        if name not in types:
            raise FilterError(f"invalid column for select {name}")
    for filter_ in binding.filters:
        if filter_.column not in types:
            raise FilterError(f"invalid column for filter {filter_.column}")
        cast = check_filter(filter_, types[filter_.column])
        if cast is not None:
            row = await (await connection.execute(cast)).fetchone()
            if filter_.operator == "in" and row is not None and row[0] > MAX_IN_VALUES:
                raise FilterError(f"too many values for `in` filter. Maximum {MAX_IN_VALUES}")


def _explain(error: FilterError | psycopg.Error) -> str:
    """`ERROR 22P02 (invalid_text_representation) invalid input …`, as the real server's driver prints it."""
    if isinstance(error, FilterError):
        return f"ERROR P0001 (raise_exception) {error}"
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    return f"ERROR {error.sqlstate} ({name}) {error.diag.message_primary}"
