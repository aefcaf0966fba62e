"""Bindings: what a join asks of postgres_changes, and the words in which a refusal repeats it."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from tests.stack.realtime.filters import Filter, parse_filters

EVENTS = ("INSERT", "UPDATE", "DELETE")
LINE_WIDTH = 98


class BindingError(Exception):
    """Neither schema nor table, or a filter without a table."""


@dataclass(frozen=True, slots=True)
class Binding:
    """`schema` and `table` are patterns of SQL's LIKE, or `*` for all."""

    id: int
    event: str
    schema: str
    table: str
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None

    def wants(self, action: str) -> bool:
        return self.event in ("*", action)

    def describe(self) -> str:
        """As the real server prints it (Elixir's `inspect`)."""
        select = "nil" if self.select is None else _inspect(list(self.select))
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, "
            f"filters: {_inspect_filters(self.filters)}, select: {select}]"
        )


def binding_id(params: dict[str, Any]) -> int:
    """Equal bindings have equal ids, on every channel: 27 bits, as on the real server."""
    return zlib.crc32(json.dumps(params, sort_keys=True).encode()) & 0x7FFFFFF


def parse_binding(params: dict[str, Any]) -> Binding:
    """Raises `BindingError`, `FilterError`."""
    schema, table, filter_ = params.get("schema"), params.get("table"), params.get("filter", "")
    valid = all(value is None or isinstance(value, str) for value in (schema, table, filter_))
    if not valid or (schema is None and table is None) or (table is None and filter_):
        raise BindingError(
            "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
            + _inspect(params)
        )
    event, select = params.get("event"), params.get("select")
    return Binding(
        id=binding_id(params),
        event=event.upper() if isinstance(event, str) and event.upper() in EVENTS else "*",
        schema="public" if schema is None else schema,
        table="*" if table is None else table,
        filters=parse_filters(filter_ or ""),
        select=tuple(map(str, select)) if isinstance(select, list) and select else None,
    )


def _inspect_filters(filters: tuple[Filter, ...]) -> str:
    shown = [_inspect_tuple(f, " ") for f in filters]
    line = f"[{', '.join(shown)}]"
    if len(line) <= LINE_WIDTH:
        return line
    return "[\n" + ",\n".join(f"  {_inspect_tuple(f, chr(10) + '   ')}" for f in filters) + "\n]"


def _inspect_tuple(filter_: Filter, gap: str) -> str:
    negated = "true" if filter_.negated else "false"
    head = f"{_inspect(filter_.column)}, {_inspect(filter_.operator)}"
    return f"{{{head},{gap}{_inspect(filter_.value)},{gap}{negated}}}"


def _inspect(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_inspect(key)} => {_inspect(value[key])}" for key in sorted(value))
        return f"%{{{pairs}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inspect, value))}]"
    return "nil" if value is None else json.dumps(value, ensure_ascii=False)
