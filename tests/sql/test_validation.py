"""Products: one answer with every failure, text in one form, and the same said without writing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, rpc, value
from tests.sql.company import Company, add_member, add_product, found_company

INSERT = (
    "insert into public.products (tenant_id, sku, name, description, status, price, currency, attributes)"
    " select %s, p.sku, p.name, p.description, p.status, p.price, p.currency, p.attributes"
    " from jsonb_populate_record(null::public.products, %s) p returning id"
)
GOOD: dict[str, Any] = {
    "sku": "TEE",
    "name": "Tee",
    "description": "",
    "status": "draft",
    "price": 50,
    "currency": "USD",
    "attributes": {},
}

BROKEN: list[tuple[dict[str, object], str]] = [
    ({"sku": None}, "product.sku_length"),
    ({"sku": ""}, "product.sku_length"),
    ({"sku": "x" * 101}, "product.sku_length"),
    ({"sku": " TEE"}, "product.sku_clean"),
    ({"sku": "T\tE"}, "product.sku_clean"),
    ({"sku": "Cafe\u0301"}, "product.sku_clean"),
    ({"name": None}, "product.name_length"),
    ({"name": " \n"}, "product.name_length"),
    ({"name": "x" * 501}, "product.name_length"),
    ({"name": "T\x07ee"}, "product.name_clean"),
    ({"name": "T\x9fee"}, "product.name_clean"),
    ({"name": "<b>Tee</b>"}, "product.name_html"),
    ({"description": None}, "product.description_missing"),
    ({"description": "x" * 65_537}, "product.description_length"),
    ({"description": "a\x01b"}, "product.description_clean"),
    ({"description": "<script>alert(1)</script>"}, "product.description_html"),
    ({"status": "sold"}, "product.status_known"),
    ({"status": None}, "product.status_known"),
    ({"price": None}, "product.price_missing"),
    ({"price": "NaN"}, "product.price_a_number"),
    ({"price": -1}, "product.price_not_negative"),
    ({"price": "50.001"}, "product.price_scale"),
    ({"price": "50.1", "currency": "JPY"}, "product.price_scale"),
    ({"currency": "XXX"}, "product.currency_known"),
    ({"currency": None}, "product.currency_known"),
    ({"currency": "usd"}, "product.currency_known"),
    ({"attributes": []}, "product.attributes_object"),
    ({"attributes": None}, "product.attributes_object"),
    ({"attributes": {"a": "x" * 65_536}}, "product.attributes_size"),
    ({"attributes": {"a": ["\x01"]}}, "product.attributes_clean"),
    ({"attributes": {"\x02": 1}}, "product.attributes_clean"),
    ({"attributes": {"a": "<svg onload=x>"}}, "product.attributes_html"),
]


async def add(db: Connection, company: Company, **more: object) -> Any:
    return await value(db, INSERT, company.tenant_id, Jsonb({**GOOD, **more}))


async def refusal(db: Connection, company: Company, **more: object) -> list[dict[str, str]]:
    with pytest.raises(psycopg.Error) as refused:
        await add(db, company, **more)
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == ("PT422", "product.invalid")
    failures: list[dict[str, str]] = json.loads(refused.value.diag.message_detail or "")
    return failures


async def dry_run(db: Connection, company: Company, product: dict[str, object]) -> Any:
    return await call(db, "public", "validate_product", p_tenant_id=company.tenant_id, p_product=product)


async def test_a_failure_has_its_code_written_or_not(db: Connection, company: Company) -> None:
    for change, code in BROKEN:
        (failure,) = await refusal(db, company, **change)
        assert (failure["code"], failure["severity"]) == (code, "error")
        assert failure["detail"]
        async with acting_as(db, company.owner):
            assert await dry_run(db, company, {**GOOD, **change}) == {"valid": False, "failures": [failure]}


async def test_all_failures_come_at_once(db: Connection, company: Company) -> None:
    failures = await refusal(
        db, company, sku="", name="", price="1.001", status="sold", attributes=[], description="<script>"
    )
    assert [(failure["field"], failure["code"]) for failure in failures] == [
        ("sku", "product.sku_length"),
        ("name", "product.name_length"),
        ("description", "product.description_html"),
        ("status", "product.status_known"),
        ("price", "product.price_scale"),
        ("attributes", "product.attributes_object"),
    ]
    (line,) = await rpc(
        db,
        "import_products",
        p_tenant_id=company.tenant_id,
        p_rows=[{**GOOD, "line": 2, "name": "", "price": "1.001", "images": [], "quantity": None}],
    )
    assert [failure["code"] for failure in line["error"]["failures"]] == [
        "product.name_length",
        "product.price_scale",
    ]
    assert line["error"]["code"] == "product.name_length"
    assert line["error"]["detail"] == (
        "A name has 1 to 500 characters."
        " Also: USD has prices of 2 decimal places; 1.001 has more. [product.price_scale]"
    )


async def test_text_is_stored_in_one_form(db: Connection, company: Company) -> None:
    product = await add(
        db,
        company,
        name=" \u00a0Cafe\u0301 \n",
        description="one\r\ntwo\rthree ",
        attributes={"origin": "Cafe\u0301"},
    )
    stored = "select name, description, attributes ->> 'origin', version from public.products where id = %s"
    assert await rows(db, stored, product) == [("Café", "one\ntwo\nthree ", "Café", 1)]
    await db.execute("update public.products set name = %s where id = %s", ("Cafe\u0301", product))
    assert await rows(db, stored, product) == [("Café", "one\ntwo\nthree ", "Café", 1)], (
        "the same text is no change"
    )


async def test_a_stale_write_is_told_so_first(db: Connection, company: Company) -> None:
    product = await add(db, company)
    with pytest.raises(psycopg.Error, match=r"version\.stale"):
        await db.execute("update public.products set name = '', version = 7 where id = %s", (product,))


async def test_the_checks_stand_behind_the_triggers(db: Connection, company: Company) -> None:
    await db.execute("alter table public.products disable trigger validate")
    changes: list[dict[str, object]] = [
        {"name": ""},
        {"price": -1},
        {"price": "1.001"},
        {"attributes": []},
        {"name": "T\x07"},
    ]
    for change in changes:
        with pytest.raises(psycopg.errors.CheckViolation):
            await add(db, company, **change)


async def test_an_invalid_product_can_leave_but_not_stay_changed(db: Connection, company: Company) -> None:
    product = await add(db, company, status="active")
    await db.execute(
        "insert into public.validation_rules (tenant_id, name, condition, message)"
        " values (%s, 'cheap', %s, 'Too dear.')",
        (company.tenant_id, Jsonb({"field": "price", "op": "<", "value": 10})),
    )
    with pytest.raises(psycopg.Error, match=r"product\.invalid"):
        await db.execute("update public.products set name = 'Tee 2' where id = %s", (product,))
    await db.execute("update public.products set status = 'draft' where id = %s", (product,))
    with pytest.raises(psycopg.Error, match=r"product\.invalid"):
        await db.execute("update public.products set status = 'active' where id = %s", (product,))
    await db.execute("update public.products set deleted_at = now() where id = %s", (product,))


async def test_publishing_tells_of_the_other_failures_too(db: Connection, company: Company) -> None:
    with pytest.raises(psycopg.Error, match=r"product\.not_publishable") as refused:
        await add(db, company, status="active", price=0, description="<script>")
    codes = ["publish.price_missing", "product.description_html"]
    assert [failure["code"] for failure in json.loads(refused.value.diag.message_detail or "")] == codes
    async with acting_as(db, company.owner):
        answer = await dry_run(
            db, company, {**GOOD, "status": "active", "price": 0, "description": "<script>"}
        )
    assert [failure["code"] for failure in answer["failures"]] == codes


async def test_the_dry_run_of_a_change_judges_the_whole_product(db: Connection, company: Company) -> None:
    product = await add(db, company, price="50.25")
    async with acting_as(db, company.owner):
        assert await dry_run(db, company, {"id": str(product), "name": "Tee 2"}) == {
            "valid": True,
            "failures": [],
        }
        answer = await dry_run(db, company, {"id": str(product), "currency": "JPY", "version": 3})
        assert [failure["code"] for failure in answer["failures"]] == ["product.price_scale", "version.stale"]
    assert await rows(db, "select currency, version from public.products") == [("USD", 1)]


async def test_the_dry_run_knows_types_and_references(db: Connection, company: Company) -> None:
    await add_product(db, company, "TAKEN")
    gone = str(uuid.uuid4())
    asked = {
        **GOOD,
        "sku": "TAKEN",
        "price": "cheap",
        "colour": "red",
        "parent_id": gone,
        "category_id": gone,
    }
    async with acting_as(db, company.owner):
        answer = await dry_run(db, company, asked)
    assert [(failure["field"], failure["code"]) for failure in answer["failures"]] == [
        ("colour", "product.field_unknown"),
        ("price", "product.price_type"),
        ("sku", "product.sku_taken"),
        ("parent_id", "product.parent_missing"),
        ("category_id", "product.category_missing"),
    ]


async def test_the_dry_run_starts_from_the_tables_defaults(db: Connection, company: Company) -> None:
    async with acting_as(db, company.owner):
        assert (await dry_run(db, company, {"sku": "A", "name": "A"}))["valid"]
    defaults = await rows(
        db,
        "select column_name, column_default from information_schema.columns where table_name = 'products'"
        " and column_name in ('description', 'status', 'price', 'currency', 'attributes') order by 1",
    )
    assert defaults == [
        ("attributes", "'{}'::jsonb"),
        ("currency", "'USD'::text"),
        ("description", "''::text"),
        ("price", "0"),
        ("status", "'draft'::text"),
    ]


async def test_who_may_ask(db: Connection, company: Company) -> None:
    async with acting_as(db, await add_member(db, company, "viewer")):
        assert (await dry_run(db, company, GOOD))["valid"]
    stranger = await found_company(db, "other")
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        async with acting_as(db, stranger.owner):
            await dry_run(db, company, GOOD)
    with pytest.raises(psycopg.Error, match=r"product\.not_object"):
        async with acting_as(db, company.owner):
            await value(db, "select public.validate_product(%s, '[]')", company.tenant_id)
