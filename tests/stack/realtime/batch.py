"""One poll's changes, judged together: filters, rights and row-level security.

Everything is asked of the database as it is now, not as it was when the change was made. An error anywhere
loses the whole batch, because the slot has advanced already; so it is on the real server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection, sql

from tests.stack.realtime.events import Delivery, EventWriter, Item, refusal_of
from tests.stack.realtime.filters import Filter, condition
from tests.stack.realtime.generated import add_generated
from tests.stack.realtime.pgoutput import Change, Relation, Unchanged
from tests.stack.realtime.rls import TableAccess, table_access, visible_rows
from tests.stack.realtime.subscriptions import Registry, Subscription
from tests.stack.realtime.values import Row, TypedText, TypeNames, render, text_array

FULL = "f"


class Batch:
    def __init__(
        self, connection: AsyncConnection[Any], registry: Registry, types: TypeNames, max_record_bytes: int
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._types = types
        self._max_record_bytes = max_record_bytes
        self._access: dict[tuple[Relation, str], TableAccess] = {}
        self._values: dict[TypedText, str] = {}
        self._matches: dict[tuple[int, Filter, str | None], bool] = {}
        self._visible: dict[tuple[Relation, str, str], frozenset[tuple[str, ...]]] = {}

    async def deliveries(self, changes: Iterable[Change]) -> list[Delivery]:
        """In commit order. Raises `psycopg.Error`, `TableGoneError`."""
        items = [item for change in changes if (item := self._item(change)) is not None]
        await self._complete(items)
        await self._load_access(items)
        await self._load_values(items)
        await self._load_matches(items)
        await self._load_visible(items)
        return [delivery for item in items for role in item.roles for delivery in self._deliver(item, role)]

    def _item(self, change: Change) -> Item | None:
        subscriptions = tuple(
            s for s in self._registry.of_table(change.relation.oid) if s.binding.wants(change.action)
        )
        if not subscriptions:
            return None
        new = _present(change.new)
        if change.old is not None:
            old = _present(change.old)
        elif change.action == "UPDATE":  # the log repeats an identity only when it changes
            old = {c.name: new[c.name] for c in change.relation.columns if c.is_key and c.name in new}
        else:
            old = {}
        return Item(change, change.relation, subscriptions, new, old)

    async def _complete(self, items: list[Item]) -> None:
        by_relation: dict[Relation, list[Item]] = defaultdict(list)
        for item in items:
            by_relation[item.relation].append(item)
        for relation, group in by_relation.items():
            whole = [item.new for item in group if item.new]
            if relation.identity == FULL:
                whole += [item.old for item in group if item.old]
            completed = await add_generated(self._connection, self._types, relation, whole)
            for item in group:
                item.relation = completed

    # -- what has to be asked -------------------------------------------------------------------------------

    async def _load_access(self, items: list[Item]) -> None:
        for relation, role in {(item.relation, role) for item in items for role in item.roles}:
            self._access[relation, role] = await table_access(self._connection, relation, role)

    async def _load_values(self, items: list[Item]) -> None:
        texts = [
            (column.type_oid, text)
            for item in items
            for column in item.relation.columns
            for text in (item.new.get(column.name), item.old.get(column.name))
            if text is not None
        ]
        self._values = await render(self._connection, self._types, texts)

    async def _load_matches(self, items: list[Item]) -> None:
        wanted: dict[tuple[int, Filter], set[str | None]] = defaultdict(set)
        for item in items:
            oids = item.type_oids
            for filter_ in {f for s in item.subscriptions for f in s.binding.filters}:
                if filter_.column in item.judged:
                    wanted[oids[filter_.column], filter_].add(item.judged[filter_.column])
        await self._types.load(self._connection, {oid for oid, _ in wanted})
        for (oid, filter_), values in wanted.items():
            texts = list(values)
            query = sql.SQL("select array(select {} from unnest({}) with ordinality u(v, n) order by n)")
            composed = query.format(condition(filter_, self._types[oid]), text_array(texts))
            row = await (await self._connection.execute(composed)).fetchone()
            for text, matches in zip(texts, row[0] if row else (), strict=True):
                self._matches[oid, filter_, text] = matches

    async def _load_visible(self, items: list[Item]) -> None:
        wanted: dict[tuple[Relation, str, str], set[tuple[str, ...]]] = defaultdict(set)
        for item in items:
            for subscription in item.subscriptions:
                access = self._access[item.relation, subscription.role]
                if self._row_checked(item, access) and self._passes_filters(item, subscription):
                    key = (item.relation, subscription.role, subscription.claims)
                    wanted[key].add(_key_values(item, access))
        for (relation, role, claims), rows in wanted.items():
            primary_key = self._access[relation, role].primary_key
            self._visible[relation, role, claims] = await visible_rows(
                self._connection, self._types, relation, primary_key, list(rows), role=role, claims=claims
            )

    @staticmethod
    def _row_checked(item: Item, access: TableAccess) -> bool:
        """DELETEs cannot be checked: the row is gone."""
        return access.row_security and item.change.action != "DELETE" and refusal_of(item, access) is None

    def _passes_filters(self, item: Item, subscription: Subscription) -> bool:
        oids, row = item.type_oids, item.judged
        return all(
            f.column in row and self._matches[oids[f.column], f, row[f.column]]
            for f in subscription.binding.filters
        )

    def _sees(self, item: Item, subscription: Subscription, access: TableAccess) -> bool:
        if not self._passes_filters(item, subscription):
            return False
        if not self._row_checked(item, access):
            return True
        visible = self._visible[item.relation, subscription.role, subscription.claims]
        return _key_values(item, access) in visible

    def _deliver(self, item: Item, role: str) -> Iterable[Delivery]:
        access = self._access[item.relation, role]
        refused = refusal_of(item, access) is not None
        seeing = [
            s for s in item.subscriptions if s.role == role and (refused or self._sees(item, s, access))
        ]
        return EventWriter(item, access, self._values, self._max_record_bytes).deliveries(seeing)


def _present(row: dict[str, str | Unchanged | None] | None) -> Row:
    return {name: value for name, value in (row or {}).items() if not isinstance(value, Unchanged)}


def _key_values(item: Item, access: TableAccess) -> tuple[str, ...]:
    return tuple(str((item.old | item.new)[name]) for name in access.primary_key)
