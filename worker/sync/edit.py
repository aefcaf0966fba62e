"""Edits: what a client did to fields of a row, rather than what the row then was.

    {"name": {"set": "Boot"}, "attributes.tags": {"add": ["new"], "remove": []}, "on_hand": {"delta": -2}}

A field is a column, or a key of `attributes` behind a dot; an attribute that is set to null is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, assert_never

Row = Mapping[str, Any]
"""By column."""
Fields = Mapping[str, Any]
"""By field: as a row, but `attributes` key by key."""

NESTED: Final = "attributes"
_PREFIX: Final = NESTED + "."


@dataclass(frozen=True, slots=True)
class Put:
    value: Any


@dataclass(frozen=True, slots=True)
class Delta:
    by: int


@dataclass(frozen=True, slots=True)
class Members:
    """Elements of a list whose order means nothing; no element is in both."""

    add: frozenset[str]
    remove: frozenset[str]


Operation = Put | Delta | Members
Edit = Mapping[str, Operation]


def parse_edit(value: Any) -> dict[str, Operation]:
    """Raises `ValueError` that names the field."""
    if not isinstance(value, dict):
        raise ValueError("an edit is an object of fields")  # noqa: TRY004 - bad input, as below
    return {str(name): _operation(name, told) for name, told in value.items()}


def _operation(name: str, told: Any) -> Operation:
    match told:
        case {"set": value} if len(told) == 1:
            return Put(value)
        case {"delta": int(by)} if len(told) == 1 and not isinstance(by, bool):
            return Delta(by)
        case dict() if told and told.keys() <= {"add", "remove"}:
            add, remove = (_texts(name, told.get(word, [])) for word in ("add", "remove"))
            if add & remove:
                raise ValueError(f"{name}: {min(add & remove)!r} is both added and removed")
            return Members(add, remove)
        case _:
            raise ValueError(f"{name}: one of set, delta, or add and remove, not {str(told)[:80]}")


def _texts(name: str, value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name}: add and remove are lists of texts")
    return frozenset(value)


def fields_of(row: Row) -> dict[str, Any]:
    """A row field by field."""
    fields = {name: value for name, value in row.items() if name != NESTED}
    return fields | {_PREFIX + key: value for key, value in (row.get(NESTED) or {}).items()}


def applied(operation: Operation, value: Any) -> Any:
    """What `operation` makes of a field's value; None stands for a field that is not there."""
    match operation:
        case Put(new):
            return new
        case Delta(by):
            return (value or 0) + by
        case Members(add, remove):
            return sorted((elements(value) - remove) | add)
        case _:
            assert_never(operation)


def is_number(value: Any) -> bool:
    """Whether a delta moves a field's value: a number, or nothing yet."""
    return isinstance(value or 0, (int, Decimal))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def is_set(value: Any) -> bool:
    """Whether a field's value is one, or nothing yet."""
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def elements(value: Any) -> frozenset[str]:
    """The texts of a list; nothing else has elements."""
    return (
        frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
    )
