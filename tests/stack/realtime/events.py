"""The frames of a change: one for each channel that sees it, and one for each `select` of its bindings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.stack.realtime.channel import Channel
from tests.stack.realtime.frames import compact
from tests.stack.realtime.pgoutput import Change, Relation
from tests.stack.realtime.rls import TableAccess
from tests.stack.realtime.subscriptions import Subscription
from tests.stack.realtime.values import Row, TypedText, json_object

UNAUTHORIZED = "Error 401: Unauthorized"
NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
TOO_LARGE = "Error 413: Payload Too Large"
SMALL_VALUE_BYTES = 64
Select = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Delivery:
    channel: Channel
    event: str
    payload: str


@dataclass(slots=True, eq=False)
class Item:
    """A change that somebody may want."""

    change: Change
    relation: Relation
    subscriptions: tuple[Subscription, ...]
    new: Row
    """For a DELETE empty."""
    old: Row
    """The replica identity, or the whole row with identity full; for an INSERT empty."""

    @property
    def judged(self) -> Row:
        """The columns that filters see."""
        return self.old if self.change.action == "DELETE" else self.new

    @property
    def type_oids(self) -> dict[str, int]:
        return {column.name: column.type_oid for column in self.relation.columns}

    @property
    def roles(self) -> list[str]:
        return sorted({subscription.role for subscription in self.subscriptions})


def refusal_of(item: Item, access: TableAccess) -> str | None:
    """Why the role gets an error in place of the row."""
    if item.change.action == "DELETE":
        return None
    if not access.primary_key:
        return NO_PRIMARY_KEY
    return None if access.selectable.issuperset(access.primary_key) else UNAUTHORIZED


class EventWriter:
    """Writes what one role sees of one change. `values` are rendered already."""

    def __init__(
        self, item: Item, access: TableAccess, values: dict[TypedText, str], max_record_bytes: int
    ) -> None:
        self._item = item
        self._access = access
        self._values = values
        self._refusal = refusal_of(item, access)
        self._too_large = item.change.size > max_record_bytes

    def deliveries(self, seeing: Iterable[Subscription]) -> Iterator[Delivery]:
        data: dict[Select, str] = {}
        for channel, group in _by_channel(seeing):
            for select, ids in _by_select(group):
                if select not in data:
                    data[select] = self._data(select)
                yield _delivery(channel, self._item.change.action, data[select], ids)

    def _data(self, select: Select) -> str:
        change, access = self._item.change, self._access
        shown = {name for name, _ in access.columns if self._refusal is None}
        if select is not None:
            shown &= {*select, *access.primary_key}
        columns = [{"name": name, "type": type_} for name, type_ in access.columns if name in shown]
        record = old = ""
        if change.action != "DELETE":
            record = f'"record":{self._object(self._item.old | self._item.new, shown)},'
        if change.action != "INSERT":
            hidden = change.action == "DELETE" and access.row_security
            kept = shown & set(access.primary_key) if hidden else shown
            old = f',"old_record":{self._object(self._item.old, kept)}'
        return (
            f'{{"table":{compact(change.relation.table)},"type":"{change.action}",{record}'
            f'"columns":{json.dumps(columns, ensure_ascii=False)},"errors":{compact(self._errors())},'
            f'"schema":{compact(change.relation.schema)},"commit_timestamp":{self._timestamp()}{old}}}'
        )

    def _errors(self) -> list[str] | None:
        if self._refusal is not None:
            return [self._refusal]
        return [TOO_LARGE] if self._too_large else None

    def _timestamp(self) -> str:
        if self._refusal is not None:
            return "null"
        at = self._item.change.committed_at
        return f'"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"'

    def _object(self, row: Row, shown: set[str]) -> str:
        oids = self._item.type_oids
        values = {
            name: "null" if text is None else self._values[oids[name], text]
            for name, text in row.items()
            if name in shown
        }
        if self._too_large:
            values = {name: v for name, v in values.items() if len(v.encode()) <= SMALL_VALUE_BYTES}
        return json_object(values)


def _by_channel(subscriptions: Iterable[Subscription]) -> Iterable[tuple[Channel, list[Subscription]]]:
    groups: dict[Channel, list[Subscription]] = defaultdict(list)
    for subscription in subscriptions:
        groups[subscription.channel].append(subscription)
    return groups.items()


def _by_select(group: list[Subscription]) -> Iterable[tuple[Select, list[int]]]:
    """Ids in the reverse order of the bindings; a binding with `select` has a frame of its own."""
    ids: dict[Select, list[int]] = {}
    for subscription in sorted(group, key=lambda s: (s.binding.select is not None, -s.position)):
        ids.setdefault(subscription.binding.select, []).append(subscription.binding.id)
    return ids.items()


def _delivery(channel: Channel, action: str, data: str, ids: list[int]) -> Delivery:
    if channel.joined.options.legacy:
        return Delivery(channel, action, data)
    return Delivery(channel, "postgres_changes", f'{{"data":{data},"ids":{compact(ids)}}}')
