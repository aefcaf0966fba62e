"""What docs/ shows of the event catalogue, made from a migrated database.

The types in docs/events.md, between two markers, and docs/event-schemas.json: a line for each type, with the
JSON Schema of its body. Both are compared by `make check` and rewritten by `--update`, like the snapshots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from tests.stack.paths import ROOT

EVENTS = ROOT / "docs" / "events.md"
SCHEMAS = ROOT / "docs" / "event-schemas.json"
BEGIN, END = "<!-- Generated from here: tests/check/event_docs.py -->", "<!-- To here -->"
BODY = ("id", "type", "timestamp", "tenant_id", "seq", "schema", "data")
DATA = ("object", "previous", "changed", "version")
SHOWN = ("updated", "created")
"""The verb whose example stands for its entity: the first of these that there is."""

ENTITIES: LiteralString = """
select l.entity, obj_description(l.relation::regclass, 'pg_class'),
  (select json_agg(json_build_array(f.name, f.schema) order by f.place) from private.event_fields(l.entity) f)
from private.logged_entities l
order by not exists (select from public.event_types t where t.entity = l.entity and t.webhooks),
  l.entity
"""
TYPES: LiteralString = """
select t.type, t.verb, t.description, t.webhooks, t.schema_version, t.example::text
from public.event_types t where t.entity = %s
order by t.verb <> 'created', t.verb <> 'updated', t.verb = 'deleted', t.verb
"""


@dataclass(frozen=True)
class EventType:
    """A row of event_types; `example` is the text of its JSON, with the digits that Postgres holds."""

    type: str
    verb: str
    description: str
    webhooks: bool
    schema_version: int
    example: str


def event_docs(connection: psycopg.Connection) -> dict[Path, str]:
    """What the generated files should hold, prose of docs/events.md included."""
    prose = EVENTS.read_text()
    if not (BEGIN in prose and END in prose):
        raise ValueError(f"{EVENTS.name} has lost its markers: {BEGIN} … {END}")
    before, _, rest = prose.partition(BEGIN)
    lines = "\n".join(_describe(connection))
    return {
        EVENTS: f"{before}{BEGIN}\n\n{lines}\n{END}{rest.partition(END)[2]}",
        SCHEMAS: _list_schemas(connection),
    }


def _list_schemas(connection: psycopg.Connection) -> str:
    query = "select type, json_schema from public.event_types order by type"
    lines = [f"{json.dumps(name)}: {json.dumps(schema)}" for name, schema in connection.execute(query)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _describe(connection: psycopg.Connection) -> Iterator[str]:
    entities = connection.execute(ENTITIES).fetchall()
    types = {
        entity: [EventType(*row) for row in connection.execute(TYPES, (entity,))] for entity, _, _ in entities
    }
    yield from ("| entity | verbs sent to webhooks | verbs in the log only |", "|---|---|---|")
    for entity, _, _ in entities:
        sent, kept = (
            " ".join(f"`{one.verb}`" for one in types[entity] if one.webhooks is webhooks)
            for webhooks in (True, False)
        )
        yield f"| [`{entity}`](#{entity}) | {sent} | {kept} |"
    for entity, words, fields in entities:
        yield from _describe_entity(entity, words, fields, types[entity])


def _describe_entity(
    entity: str, words: str, fields: list[tuple[str, dict[str, Any]]], types: list[EventType]
) -> Iterator[str]:
    yield from ("", f"### {entity}", "", f"{words}.", "")
    yield from ("| type | when |", "|---|---|")
    for one in types:
        version = f" Schema {one.schema_version}." if one.schema_version > 1 else ""
        log_only = "" if one.webhooks else " In the log only."
        yield f"| `{one.type}` | {one.description}{version}{log_only} |"
    yield from ("", "<details><summary>Fields</summary>", "", "| field | is | |", "|---|---|---|")
    for name, schema in fields:
        yield f"| `{name}` | {_kind(schema)} | {schema.get('description', '')} |"
    shown = min(types, key=lambda one: SHOWN.index(one.verb) if one.verb in SHOWN else len(SHOWN))
    yield from ("", "</details>", f"<details><summary>Example: <code>{shown.type}</code></summary>", "")
    pretty = _pretty(shown.example, [name for name, _ in fields])
    yield from ("```json", pretty, "```", "", "</details>")


def _kind(schema: dict[str, Any]) -> str:
    """A field's schema in a few words."""
    given = schema.get("type")
    names = given if isinstance(given, list) else [given]
    if "enum" in schema:
        word = " ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    else:
        plain = {"string": "text", None: "any JSON"}.get(names[0], str(names[0]))
        word = {"date-time": "time"}.get(schema.get("format", ""), schema.get("format", plain))
    return f"{word}, or null" if "null" in names else word


def _pretty(text: str, fields: list[str]) -> str:
    """An example over lines, keys in the order of real bodies; numbers keep their digits, as there."""

    def sort(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known = dict(pairs)
        order = next((each for each in (BODY, DATA) if set(each) <= known.keys()), fields)
        return {key: known[key] for key in [*order, *known] if key in known}

    def mark(digits: str) -> str:
        return f"<number {digits}>"

    body = json.loads(text, parse_float=mark, object_pairs_hook=sort)
    return re.sub(r'"<number ([0-9.eE+-]+)>"', r"\1", json.dumps(body, indent=2, ensure_ascii=False))
