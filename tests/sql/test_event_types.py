"""The event catalogue: made from the database, true of every event, and keeping its promises."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from psycopg.types.json import Jsonb

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.company import Company, add_product
from tests.sql.dispatching import LOG, drain
from tests.sql.every_event import make_every_event

CATALOGUE = "select t, k.* from public.event_types t join private.event_keys k using (type) order by type"
FORMATS = FormatChecker(["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(text: object) -> bool:
    """RFC 3339: the library checks it only with another package."""
    return not isinstance(text, str) or dt.datetime.fromisoformat(text).utcoffset() is not None


async def validators(db: Connection) -> dict[str, Draft202012Validator]:
    """By type; every schema is a valid one."""
    made = {}
    for type_, schema in await rows(db, "select type, json_schema from public.event_types"):
        Draft202012Validator.check_schema(schema)
        made[type_] = Draft202012Validator(schema, format_checker=FORMATS)
    return made


def complaints(validator: Draft202012Validator, body: Any) -> list[str]:
    return [f"{body['type']} {error.json_path}: {error.message}" for error in validator.iter_errors(body)]


async def test_the_catalogue_is_what_the_tables_say(db: Connection) -> None:
    before = await rows(db, CATALOGUE)
    await db.execute("select private.refresh_event_types()")
    assert await rows(db, CATALOGUE) == before, "a migration changed a table or the map, and did not refresh"
    mapped = await column(db, "select distinct entity || '.' || verb from private.event_map order by 1")
    assert await column(db, "select type from public.event_types order by type") == mapped


async def test_every_event_of_real_changes_is_as_its_schema_says(db: Connection, company: Company) -> None:
    await make_every_event(db, company)
    await drain(db)
    judges = await validators(db)
    bodies = [json.loads(body) for body in await column(db, "select body from public.events")]
    assert [complaint for body in bodies for complaint in complaints(judges[body["type"]], body)] == []
    assert set(judges) - {body["type"] for body in bodies} == set(), "types that nothing here makes"
    assert await rows(db, "select * from private.invalid_events") == []


async def test_a_schema_notices_what_is_wrong(db: Connection) -> None:
    judge = (await validators(db))["product.updated"]
    example = await value(db, "select example from public.event_types where type = 'product.updated'")
    wrong: list[tuple[tuple[str, ...], object]] = [
        (("id",), "evt_1"), (("type",), "product.created"), (("timestamp",), "2026-11-23 07:19"),
        (("tenant_id",), "acme"), (("seq",), 0), (("schema",), 2), (("data", "changed"), []),
        (("data", "previous"), None), (("data", "previous", "price"), "1"),
        (("data", "object", "price"), "1"), (("data", "object", "status"), "sold"),
        (("data", "object", "sku"), None),
        (("data", "object", "deleted_at"), "yesterday"), (("data", "object", "parent_id"), 7),
    ]  # fmt: skip
    for path, bad in wrong:
        body = json.loads(json.dumps(example))
        *above, last = path
        place = body
        for step in above:
            place = place[step]
        place[last] = bad
        assert complaints(judge, body), path
    assert complaints(judge, {**example, "data": {**example["data"], "object": {}}})
    example["data"]["object"]["weight"] = 3
    assert complaints(judge, {**example, "redacted": True}) == [], "receivers must bear more fields"


async def test_every_example_is_as_its_schema_says_and_tells_of_a_change(db: Connection) -> None:
    judges = await validators(db)
    query = "select type, json_schema, example, private.event_problem(type, example #> '{data,object}')"
    for type_, schema, example, problem in await rows(db, query + " from public.event_types"):
        assert complaints(judges[type_], example) == []
        failures = await value(
            db, "select private.schema_failures(%s, %s, '')", Jsonb(schema), Jsonb(example)
        )
        assert (failures, problem) == ([], None)
        data = example["data"]
        assert data["changed"] == sorted(data["previous"] or {})
        for name in data["changed"]:
            assert data["previous"][name] != data["object"][name], f"{type_}: {name}; see event_examples"


async def test_hidden_columns_are_in_no_schema_and_in_no_event(db: Connection) -> None:
    fields = await column(db, "select name from private.event_fields('invitation')")
    assert "role" in fields
    assert not {"email", "token_hash"} & set(fields)
    example = await value(db, "select example from public.event_types where type = 'invitation.created'")
    shown = {**example["data"]["object"], "email": "a@example.com"}
    problem = await value(db, "select private.event_problem('invitation.created', %s)", Jsonb(shown))
    assert problem == "shows email"


async def test_what_was_kept_from_webhooks_is_counted_and_says_why(db: Connection, company: Company) -> None:
    assert (await rpc(db, "worker_status"))["invalid_events"] == 0
    await db.execute("delete from public.event_types where type = 'product.created'")
    await db.execute("alter table public.locations drop column name cascade")
    await add_product(db, company)
    await db.execute("insert into public.locations (tenant_id, code) values (%s, 'A')", (company.tenant_id,))
    await drain(db)
    kept = "select seq, type, problem from private.invalid_events where tenant_id = %s order by seq"
    assert await rows(db, kept, company.tenant_id) == [
        (3, "product.created", "the type is not in the catalogue"),
        (4, "location.created", "lacks name"),
    ]
    assert [(seq, type_) for seq, type_, _ in await rows(db, LOG, company.tenant_id)][2:] == [
        (3, "product.created"),
        (4, "location.created"),
    ]
    assert (await rpc(db, "worker_status"))["invalid_events"] == 2
    await rpc(db, "drop_partitions", p_keep_days=1)
    await db.execute("update private.invalid_events set at = at - interval '9 days'")
    await rpc(db, "drop_partitions", p_keep_days=1)
    assert (await rpc(db, "worker_status"))["invalid_events"] == 0, "no longer than the log is kept"


@pytest.mark.parametrize(
    ("change", "name", "broken"),
    [
        ("drop column name cascade", None, "is gone"),
        ("alter column name type integer using 1", 1, "has another type"),
        ("alter column name drop not null", None, "has another type"),
    ],
)
async def test_a_change_that_breaks_a_promise_is_refused_until_the_version_rises(
    db: Connection, company: Company, change: str, name: object, broken: str
) -> None:
    for check in ("locations_name_length", "locations_name_clean"):
        await db.execute(f"alter table public.locations drop constraint {check}".encode())
    await db.execute(f"alter table public.locations {change}".encode())
    with pytest.raises(psycopg.Error, match=r"events\.breaking_change") as refused:
        await db.execute("select private.refresh_event_types()")
    detail = f"location.created promises what its table no longer has: name {broken}."
    assert (refused.value.sqlstate, refused.value.diag.message_detail) == ("PT409", detail)
    await db.execute("select private.refresh_event_types('{location}')")
    await db.execute(
        "insert into public.locations select * from"
        " jsonb_populate_record(null::public.locations, jsonb_build_object('id', gen_random_uuid(),"
        " 'tenant_id', %s::uuid, 'code', 'A', 'name', %s::integer, 'version', 1))",
        (company.tenant_id, name),
    )
    await drain(db)
    bodies = await column(db, "select body::jsonb from public.events order by seq")
    assert [body["schema"] for body in bodies] == [1, 1, 2]
    judges = await validators(db)
    assert [complaint for body in bodies for complaint in complaints(judges[body["type"]], body)] == []
    assert await rows(db, "select * from private.invalid_events") == []


async def test_what_is_added_is_described_but_never_required(db: Connection, company: Company) -> None:
    """What was written before the column came is dispatched after it, and still fits."""
    await add_product(db, company)
    await db.execute("alter table public.products add column weight numeric not null default 0")
    await db.execute("comment on column public.products.weight is 'In grams'")
    await db.execute("select private.refresh_event_types()")
    await add_product(db, company, "LATER")
    await drain(db)
    assert await rows(db, "select * from private.invalid_events") == []
    schema = await value(db, "select json_schema from public.event_types where type = 'product.created'")
    described = schema["properties"]["data"]["properties"]["object"]
    assert described["properties"]["weight"] == {"type": "number", "description": "In grams"}
    assert "weight" not in described["required"]
    judge = (await validators(db))["product.created"]
    bodies = await column(db, "select body::jsonb from public.events where type = 'product.created'")
    assert ["weight" in body["data"]["object"] for body in bodies] == [False, True]
    assert [complaint for body in bodies for complaint in complaints(judge, body)] == []


async def test_a_type_that_is_new_or_gone_is_so_in_the_catalogue(db: Connection) -> None:
    count = await value(db, "select private.refresh_event_types()")
    await db.execute(
        "insert into private.event_map (entity, operation, rank, when_field, when_null, verb, description)"
        " values ('location', 'UPDATE', 1, 'name', false, 'renamed', 'It has another name.')"
    )
    await db.execute("delete from private.event_map where entity = 'category' and verb = 'deleted'")
    await db.execute(
        "insert into private.event_map (entity, operation, verb, description)"
        " values ('ghost', 'INSERT', 'seen', 'Of no table.')"
    )
    assert await value(db, "select private.refresh_event_types()") == count
    types = await column(
        db, "select type from public.event_types where entity in ('location', 'category', 'ghost')"
    )
    assert set(types) == {
        "category.created", "category.updated", "location.created", "location.updated", "location.deleted",
        "location.renamed",
    }  # fmt: skip
    example = await value(db, "select example from public.event_types where type = 'location.renamed'")
    assert complaints((await validators(db))["location.renamed"], example) == [], "nobody wrote it, and yet"
