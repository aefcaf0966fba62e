"""Filters of postgres_changes: `column=op.value`, several joined by commas, compared by Postgres itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql

COMPARISONS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
PATTERNS = {"like": "like", "ilike": "ilike", "match": "~", "imatch": "~*"}
OTHERS = ("in", "is", "isdistinct")
OPERATORS = (*COMPARISONS, *PATTERNS, *OTHERS)
IS_VALUES = ("null", "true", "false", "unknown")
TEXT_TYPES = frozenset({"text", "character varying", "character", "name", "citext"})
MAX_IN_VALUES = 100

# A comma separates two filters only where another filter begins: values may hold commas themselves.
_SEPARATOR = re.compile(rf",(?=[^,=()]+=(?:not\.)?(?:{'|'.join(OPERATORS)})\.)")


class FilterError(Exception):
    """A filter that cannot be parsed or does not fit its column; the message is what the client is told."""


@dataclass(frozen=True, slots=True)
class Filter:
    column: str
    operator: str
    value: str
    """For `in`, an array literal: `{a,b}`."""
    negated: bool = False


def parse_filters(text: str) -> tuple[Filter, ...]:
    """Raises `FilterError`."""
    return tuple(_parse(part) for part in _SEPARATOR.split(text)) if text else ()


def _parse(text: str) -> Filter:
    column, equals, rest = text.partition("=")
    if not equals:
        raise _unparsable([text])
    negated = rest.startswith("not.")
    operator, dot, value = rest.removeprefix("not.").partition(".")
    if not dot:
        raise _unparsable([operator])
    if operator not in OPERATORS:
        raise _unparsable([operator, value])
    if operator == "in":
        if not (value.startswith("(") and value.endswith(")")):
            raise FilterError(
                "Error parsing `filter` params: `in` filter value must be wrapped by parentheses"
            )
        value = "{" + value[1:-1] + "}"
    return Filter(column, operator, value, negated)


def _unparsable(parts: list[str]) -> FilterError:
    shown = ", ".join(f'"{part}"' for part in parts)
    return FilterError(f"Error parsing `filter` params: [{shown}]")


def check_filter(filter_: Filter, type_name: str) -> sql.Composed | None:
    """Checks what Postgres would not. Returns the cast that is to be tried. Raises `FilterError`."""
    type_ = sql.SQL(type_name)
    match filter_.operator:
        case operator if operator in PATTERNS:
            if type_name not in TEXT_TYPES:
                raise FilterError(
                    f"operator {operator} requires a text-compatible column type, got {type_name}"
                )
            return None
        case "is":
            if filter_.value not in IS_VALUES:
                raise FilterError("invalid value for is filter: must be null, true, false, or unknown")
            return None
        case "in":
            cast = sql.SQL("select cardinality({}::{}[])").format(sql.Literal(filter_.value), type_)
        case _:
            cast = sql.SQL("select 1 where {}::{} is not null").format(sql.Literal(filter_.value), type_)
    return cast


def condition(filter_: Filter, type_name: str) -> sql.Composable:
    """The condition on `v`, the column's value as text; null counts as false, negated or not."""
    type_ = sql.SQL(type_name)
    column, value = sql.SQL("v::{}").format(type_), sql.Literal(filter_.value)
    test: sql.Composable
    match filter_.operator:
        case "in":
            test = sql.SQL("{} = any({}::{}[])").format(column, value, type_)
        case "is" if filter_.value == "null":
            test = sql.SQL("v is null")
        case "is":
            test = sql.SQL("v::boolean is {}").format(sql.SQL(filter_.value))
        case "isdistinct":
            test = sql.SQL("{} is distinct from {}::{}").format(column, value, type_)
        case operator if operator in PATTERNS:
            test = sql.SQL("v {} {}").format(sql.SQL(PATTERNS[operator]), value)
        case operator:
            symbol = sql.SQL(COMPARISONS[operator])
            test = sql.SQL("{} {} {}::{}").format(column, symbol, value, type_)
    negation = sql.SQL("not " if filter_.negated else "")
    return sql.SQL("coalesce({}({}), false)").format(negation, test)
