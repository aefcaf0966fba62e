"""JSON that is small until somebody writes it out, and everything of callers that takes JSON."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.databases import Connection, acting_as
from tests.sql.company import Company

BOMB = "[" + ",".join(["1e131071"] * 2000) + "]"  # 18 kB; written out 262 MB
PLAIN = "[" + ",".join(["12345678"] * 2000) + "]"  # as long as the bomb
TINY = "[" + ",".join(["0e-16383"] * 2000) + "]"  # as long, and zeros: written out 33 MB
DEEP = "[" * 100 + "]" * 100

FUNCTIONS: LiteralString = """
  select p.proname, a.name
  from pg_proc p
  cross join lateral (select p.proargtypes::oid[] as types) t
  cross join unnest(t.types, p.proargnames[1:cardinality(t.types)]) as a (type, name)
  where p.pronamespace = 'public'::regnamespace
    and a.type = any ('{json,jsonb,json[],jsonb[]}'::regtype[])
    and (has_function_privilege('authenticated', p.oid, 'execute')
      or has_function_privilege('anon', p.oid, 'execute'))
  order by 1, 2
"""
COLUMNS: LiteralString = """
  select c.relname, a.attname, has_column_privilege('authenticated', c.oid, a.attnum, 'update'),
    coalesce(array_agg(pg_get_constraintdef(k.oid)) filter (where k.oid is not null), '{}')
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_constraint k on k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum]
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
    and a.atttypid = any ('{json,jsonb,json[],jsonb[]}'::regtype[])
    and (has_column_privilege('authenticated', c.oid, a.attnum, 'insert')
      or has_column_privilege('authenticated', c.oid, a.attnum, 'update'))
  group by c.oid, c.relname, a.attname, a.attnum
  order by 1, 2
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a statement: SQLSTATE and code (None: it worked), and the seconds that it took."""

    sqlstate: str | None
    code: str | None
    seconds: float


async def tried(
    db: Connection, who: uuid.UUID, statement: sql.Composed, values: Mapping[str, object]
) -> Outcome:
    """Runs a statement as `who`, in a transaction that is rolled back. A naive one is ended after 2 s."""
    started = time.monotonic()
    try:
        async with acting_as(db, who):
            await db.execute("set local statement_timeout = '2s'")
            started = time.monotonic()
            await db.execute(statement, values)
            raise psycopg.Rollback
    except psycopg.Error as error:
        return Outcome(error.sqlstate, error.diag.message_primary, time.monotonic() - started)
    return Outcome(None, None, time.monotonic() - started)


def call_of(function: str, arguments: Mapping[str, object]) -> sql.Composed:
    return sql.SQL("select {}({})").format(
        sql.Identifier("public", function),
        sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.Identifier(each), sql.Placeholder(each)) for each in arguments
        ),
    )


def insert_of(table: str, row: Mapping[str, object]) -> sql.Composed:
    return sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier("public", table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )


def update_of(table: str, column: str) -> sql.Composed:
    return sql.SQL("update {} set {} = %(json)s").format(
        sql.Identifier("public", table), sql.Identifier(column)
    )


def peak_of(db: Connection) -> int | None:
    """The most memory that the backend has had, in kB; None where the system does not tell."""
    try:
        status = Path(f"/proc/{db.info.backend_pid}/status").read_text()
    except OSError:
        return None
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def calls(company: Company, known: Mapping[str, str]) -> dict[tuple[str, str], tuple[dict[str, Any], str]]:
    """By function and JSON argument: the other arguments, and the JSON around `{}`, where a load goes.

    `known` has the ids of a key, a conflict and an attempt.
    """
    some = str(uuid.uuid4())
    line = f'{{"product_id": "{some}", "location_id": "{some}", "quantity": 1, "note": {{}}}}'
    field = '{"attributes": {"a": {}}, "sku": "A", "name": "A"}'
    found: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
        ("apply_changes", "p_writes"): ({"p_attempt_id": known["attempt"]}, '[{"change_id": {}}]'),
        ("change_api_key", "p_changes"): ({"p_api_key_id": known["key"]}, '{"name": {}}'),
        ("create_product", "p_product"): ({"p_key": "k"}, field),
        ("export_tenant", "p_after"): ({"p_table": "products"}, '{"id": {}}'),
        ("order_event", "p_payload"): (
            {"p_order_id": some, "p_event": "pay", "p_expected_version": 1},
            '{"amount": {}}',
        ),
        ("place_order", "p_customer"): ({"p_lines": f"[{line}]".replace("{}", "1")}, '{"email": {}}'),
        ("place_order", "p_lines"): ({}, f"[{line}]"),
        ("push_changes", "p_changes"): ({"p_client": "till"}, f'[{{"id": {{}}, "edit": {field}}}]'),
        ("receive_changes", "p_messages"): (
            {"p_source": "shop"},
            '[{"message_id": "m", "body": {"name": {}}}]',
        ),
        ("receive_webhook", "p_event"): (
            {"p_kind": "order"},
            '{"id": "e", "type": "x", "timestamp": "2026-11-20T10:00:00Z", "data": {"a": {}}}',
        ),
        ("replace_product", "p_product"): ({"p_product_id": some, "p_key": "k"}, field),
        ("report_state", "p_ranges"): ({"p_client": "till", "p_entity": "product"}, '[{"count": {}}]'),
        ("resolve_conflict", "p_value"): ({"p_conflict_id": known["conflict"], "p_choice": "value"}, "{}"),
        ("search_products", "p_after"): ({"p_query": "shirt"}, '{"rank": {}}'),
        ("upsert_products", "p_rows"): ({"p_key": "k"}, f"[{field}]"),
        ("validate_product", "p_product"): ({}, field),
    }
    for argument in ("p_headers", "p_labels"):
        found["create_webhook_endpoint", argument] = ({"p_url": "https://example.com/hook"}, '{"x": {}}')
    for function in ("adjust", "count", "receive", "reserve", "transfer"):
        found[f"{function}_stock", "p_lines"] = ({"p_key": "k"}, f"[{line}]")
    found["ship_reservation", "p_lines"] = ({"p_key": "k"}, f"[{line}]")
    for (function, _), (arguments, _) in found.items():
        if function != "apply_changes":
            arguments["p_tenant_id"] = company.tenant_id
    return found


def loaded(around: str, load: str) -> str:
    text = around.replace("{}", load)
    assert load == DEEP or json.loads(text) is not None
    return text
