"""JSON costs memory and time in proportion to its bytes: 1e131071 is nine of them, and 128 KiB as text."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, acting_as, add_user
from tests.sql.ask import rows, value
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_product
from tests.sql.keys import add_key
from tests.sql.ordering import open_shop, order_in
from tests.sql.plain_json import (
    BOMB,
    COLUMNS,
    DEEP,
    FUNCTIONS,
    PLAIN,
    TINY,
    Outcome,
    call_of,
    calls,
    insert_of,
    loaded,
    peak_of,
    tried,
    update_of,
)
from tests.sql.syncing import attempt, change, push

FEW_KB = 24 * 1024
"""A backend may take as much for all calls of a test; one bomb written out takes ten times that."""


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("null", True),
        ("9" * 40, True),
        ("-" + "9" * 40 + "." + "9" * 40, True),
        ("1e39", True),
        ("1e-40", True),
        ("1e40", False),
        ("-1e40", False),
        ("1" + "0" * 40, False),
        ("1e-41", False),
        ("0e-16383", False),
        ("1." + "0" * 41, False),
        ("1e131071", False),
        ('{"a": [1, {"b": [true, "x", -1e131071]}]}', False),
        ('{"1e131071": "1e131071"}', True),
        (nested(40), True),
        (nested(42), False),
        ("[" + ",".join(["1.5"] * 1000) + "]", True),
    ],
)
async def test_what_is_plain(db: Connection, text: str, is_plain: bool) -> None:
    assert await value(db, "select private.is_plain(%s::jsonb)", text) is is_plain


async def test_no_json_is_plain(db: Connection) -> None:
    """A column may be null."""
    assert await value(db, "select private.is_plain(null)") is True


@dataclass(frozen=True)
class Scene:
    company: Company
    known: dict[str, str]


@pytest.fixture
async def scene(db: Connection, company: Company) -> Scene:
    """A tenant with a key, a change that a worker holds, and a conflict of it."""
    await stop_clock(db)  # the attempt's lease is to last
    key = await add_key(db, company)
    it = change(await add_product(db, company), {"name": {"set": "Other"}})
    await push(db, company, it)
    held = await attempt(db)
    conflict = await value(
        db,
        "insert into public.sync_conflicts"
        " (tenant_id, change_id, principal_id, entity, entity_id, field, policy)"
        " values (%s, %s, %s, 'product', %s, 'attributes', 'manual') returning id",
        company.tenant_id,
        it["id"],
        company.owner,
        it["entity_id"],
    )
    return Scene(company, {"key": str(key.id), "conflict": str(conflict), "attempt": held})


async def test_no_function_writes_out_what_a_caller_sends(db: Connection, scene: Scene) -> None:
    prepared = calls(scene.company, scene.known)
    assert sorted(prepared) == await rows(db, FUNCTIONS), "every function that takes JSON stands in calls()"
    owner = scene.company.owner
    for load in (PLAIN, DEEP):  # what any call needs, before it counts
        for (function, argument), (others, around) in prepared.items():
            arguments = {**others, argument: loaded(around, load)}
            await tried(db, owner, call_of(function, arguments), arguments)
    before = peak_of(db)
    for (function, argument), (others, around) in prepared.items():

        async def sent(load: str) -> Outcome:
            arguments = {**others, argument: loaded(around, load)}  # noqa: B023  # awaited within the turn
            return await tried(db, owner, call_of(function, arguments), arguments)  # noqa: B023

        plain, bomb, tiny, deep = [await sent(load) for load in (PLAIN, BOMB, TINY, DEEP)]
        name = f"{function}({argument})"
        assert (plain.code or "").split(".")[0] != "json", name
        assert (bomb.sqlstate, bomb.code) == ("PT422", "json.number_too_long"), name
        assert (tiny.sqlstate, tiny.code) == ("PT422", "json.number_too_long"), name
        assert (deep.sqlstate, deep.code) == ("PT422", "json.too_deep"), name
        assert bomb.seconds < plain.seconds * 5 + 0.2, (
            f"{name}: {bomb.seconds:.2f} s, plain {plain.seconds:.2f} s"
        )
    if before is not None:
        assert (peak_of(db) or 0) - before < FEW_KB


async def test_strangers_cost_nothing(db: Connection, scene: Scene) -> None:
    """Who is asked before what: the answer to a stranger is that of an empty call."""
    stranger = await add_user(db)
    before = peak_of(db)
    for (function, argument), (others, around) in calls(scene.company, scene.known).items():
        if function == "apply_changes":
            continue  # whoever knows the id of an attempt is its worker; see below
        for load in (PLAIN, BOMB):
            arguments = {**others, argument: loaded(around, load)}
            outcome = await tried(db, stranger, call_of(function, arguments), arguments)
            assert (outcome.sqlstate, outcome.code) == ("PT404", "tenant.not_found"), function
    arguments = {"p_attempt_id": uuid.uuid4(), "p_writes": f"[{BOMB}]"}
    outcome = await tried(db, stranger, call_of("apply_changes", arguments), arguments)
    assert outcome.code == "sync.attempt_lost"
    if before is not None:
        assert (peak_of(db) or 0) - before < FEW_KB


async def test_no_column_takes_it(db: Connection, company: Company) -> None:
    shop = await open_shop(db, company)
    await order_in(db, shop, "placed")
    tenant = company.tenant_id
    rule = {"name": "r", "message": "m"}
    it = change(uuid.uuid4())
    pushed = {each: it[each] for each in ("id", "entity", "entity_id", "operation", "stamp")} | {
        "client": "till"
    }
    inserted: dict[tuple[str, str], dict[str, Any] | None] = {
        ("categories", "attribute_schema"): {"name": "C", "slug": "c"},
        ("orders", "customer"): None,
        ("products", "attributes"): {"sku": "B", "name": "B"},
        ("products", "publish_failures"): {"sku": "B", "name": "B"},
        ("sync_changes", "edit"): pushed,
        ("validation_rules", "condition"): rule,
        ("webhook_endpoints", "headers"): None,
        ("webhook_endpoints", "labels"): None,
    }
    await _one_row_of_each(db, company)
    found = {(table, column): (updates, checks) for table, column, updates, checks in await rows(db, COLUMNS)}
    assert sorted(found) == sorted(inserted), "every column of JSON that people write stands here"
    before: int | None = None
    for load in (PLAIN, BOMB, TINY, DEEP):
        before = peak_of(db) if load == BOMB else before
        for (table, column), row in inserted.items():
            updates, checks = found[table, column]
            statements = [update_of(table, column)] if updates else []
            given = {"json": _whole(table, column, load)}
            if row is not None:
                full = {"tenant_id": tenant, **row, column: given["json"]}
                statements.append(insert_of(table, full))
                given |= full
            assert statements, table
            for statement in statements:
                outcome = await tried(db, company.owner, statement, given)
                if load != PLAIN:
                    assert outcome.sqlstate in ("PT422", "23514", "PT400"), (table, column, outcome)
                assert outcome.seconds < 0.3, (table, column, outcome)
            # Behind the triggers; an edit is judged once, by its trigger, and nobody changes it.
            kept = any("is_plain(" in check or "is_flat_text(" in check for check in checks)
            assert kept or (table, column) == ("sync_changes", "edit"), (table, column)
    if before is not None:
        assert (peak_of(db) or 0) - before < FEW_KB


def _whole(table: str, column: str, load: str) -> str:
    if column == "publish_failures":
        return f"[{load}]"
    if table == "validation_rules":
        return f'{{"field": "price", "op": "in", "value": {load}}}'
    if table == "sync_changes":
        return f'{{"attributes.a": {{"set": {load}}}}}'
    key = {"customer": "email", "attribute_schema": "enum"}.get(column, "a")
    return f'{{"{key}": {load}}}'


async def _one_row_of_each(db: Connection, company: Company) -> None:
    """An update of no row would show nothing. `db` may do anything."""
    statements: tuple[LiteralString, ...] = (
        "insert into public.categories (tenant_id, name, slug) values (%s, 'D', 'd')",
        "insert into public.products (tenant_id, sku, name) values (%s, 'D', 'D')",
        "insert into public.webhook_endpoints (tenant_id, url) values (%s, 'https://example.com/hook')",
    )
    for statement in statements:
        await db.execute(statement, (company.tenant_id,))
    await db.execute(
        "insert into public.validation_rules (tenant_id, name, message, condition) values (%s, 'd', 'm', %s)",
        (company.tenant_id, json.dumps({"field": "name", "op": "=", "value": "x"})),
    )


async def test_people_are_told_which_it_was(db: Connection, company: Company) -> None:
    """A direct write says the same as a command."""
    insert = "insert into public.products (tenant_id, sku, name, attributes) values (%s, 'A', 'A', %s)"
    for attributes, code in (
        ('{"a": 1e60000}', "json.number_too_long"),
        (f'{{"a": {nested(40)}}}', "json.too_deep"),
    ):
        with pytest.raises(psycopg.Error, match=rf"^{code}\n"):
            async with acting_as(db, company.owner):
                await db.execute(insert, (company.tenant_id, attributes))
    deepest = f'{{"a": {nested(39)}}}'
    async with acting_as(db, company.owner):
        await db.execute(insert, (company.tenant_id, deepest))
        # what can be stored can be sent back by every call
        stored = await value(db, "select to_jsonb(p) from public.products p")
        replace = "select public.replace_product(%s, %s, %s)"
        await value(db, replace, company.tenant_id, stored["id"], json.dumps(stored))
        await value(db, "select public.upsert_products(%s, %s)", company.tenant_id, json.dumps([stored]))
