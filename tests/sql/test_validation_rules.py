"""A tenant's own rules: the language of their conditions, who may write them, and their warnings."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import rows, value
from tests.sql.company import Company, add_member, add_product, found_company

Json = Any

ROW = {
    "sku": "TEE-1",
    "name": "Tee",
    "price": 19.9,
    "status": "active",
    "parent_id": None,
    "description": "",
    "attributes": {
        "weight": 120,
        "max": 200,
        "sizes": ["S", "M"],
        "vegan": True,
        "made": "2026-01-31",
        "care": {"wash": 30},
    },
}


def of(field: str, op: str, value: object = None, **more: object) -> dict[str, object]:
    return {"field": field, "op": op, **({} if value is None else {"value": value}), **more}


HOLDS: list[tuple[Json, bool]] = [
    (of("price", ">", 0), True),
    (of("price", ">", 19.9), False),
    (of("price", ">=", 19.9), True),
    (of("price", "<", "20"), False),
    (of("sku", "<", "TEE-2"), True),
    (of("sku", "<=", "TEE-1"), True),
    (of("sku", "=", "TEE-1"), True),
    (of("sku", "!=", "TEE-1"), False),
    (of("price", "=", 19.90), True),
    (of("attributes.vegan", "=", True), True),
    (of("attributes.vegan", ">", 0), False),
    (of("attributes.care.wash", "=", 30), True),
    (of("attributes.sizes.0", "=", "S"), True),
    (of("attributes.none", "=", 1), False),
    (of("attributes.none", "!=", 1), True),
    (of("attributes.none", "<", 1), False),
    (of("attributes.none.deeper", "present"), False),
    (of("attributes.none", "absent"), True),
    (of("parent_id", "absent"), True),
    (of("description", "present"), True),
    (of("attributes.weight", "present"), True),
    (of("status", "in", ["draft", "active"]), True),
    (of("status", "in", ["draft"]), False),
    (of("status", "not_in", ["draft"]), True),
    (of("attributes.none", "in", ["a"]), False),
    (of("attributes.none", "not_in", ["a"]), True),
    (of("attributes.sizes", "in", ["S", "M"]), False),
    (of("sku", "matches", "^TEE-[0-9]+$"), True),
    (of("sku", "matches", "^tee"), False),
    (of("price", "matches", "1"), False),
    (of("price", "between", [10, 20]), True),
    (of("price", "between", [None, 10]), False),
    (of("price", "between", [19.9, None]), True),
    (of("attributes.made", "between", ["2026-01-01", "2026-12-31"]), True),
    (of("sku", "between", [1, 2]), False),
    (of("name", "length", [3, 3]), True),
    (of("name", "length", [4, None]), False),
    (of("attributes.sizes", "length", [None, 2]), True),
    (of("price", "length", [1, 9]), False),
    (of("attributes.weight", "<", other="attributes.max"), True),
    (of("attributes.max", "<", other="attributes.weight"), False),
    (of("attributes.weight", "<", other="attributes.none"), False),
    (of("sku", "=", other="name"), False),
    ({"and": [of("price", ">", 0), of("name", "present")]}, True),
    ({"and": [of("price", ">", 0), of("parent_id", "present")]}, False),
    ({"or": [of("price", "<", 0), of("name", "present")]}, True),
    ({"or": [of("price", "<", 0)]}, False),
    ({"not": of("price", "<", 0)}, True),
    ({"not": {"not": of("price", "<", 0)}}, False),
    ({"if": of("status", "=", "active"), "then": of("price", ">", 0)}, True),
    ({"if": of("status", "=", "active"), "then": of("price", "<", 0)}, False),
    ({"if": of("status", "=", "draft"), "then": of("price", "<", 0)}, True),
]


@pytest.mark.parametrize(
    ("condition", "expected"), HOLDS, ids=[json.dumps(condition) for condition, _ in HOLDS]
)
async def test_a_condition_holds_or_not(db: Connection, condition: Json, expected: bool) -> None:
    assert await value(db, "select private.condition_problems('product', %s)", Jsonb(condition)) == []
    assert await value(db, "select private.condition_holds(%s, %s)", Jsonb(condition), Jsonb(ROW)) is expected


COMPARES = of("price", ">", 0)
REFUSED: list[tuple[Json, str]] = [
    ([], "/ must be an object"),
    ("price > 0", "/ must be an object"),
    ({}, "/ field must name a field"),
    ({"and": []}, "/and must be a list of conditions"),
    ({"or": COMPARES}, "/or must be a list of conditions"),
    ({"and": [COMPARES, 1]}, "/and/1/ must be an object"),
    (
        {"and": [COMPARES], "or": [COMPARES]},
        "/ must be one of and, or, not, if with then, or a comparison of field, op and value or other",
    ),
    (
        {"if": COMPARES},
        "/ must be one of and, or, not, if with then, or a comparison of field, op and value or other",
    ),
    (
        {"sql": "drop table x"},
        "/ must be one of and, or, not, if with then, or a comparison of field, op and value or other",
    ),
    (of("cost", ">", 0), "/ field names no field of a product: cost"),
    (of("price; drop table x", ">", 0), "/ field names no field of a product: price; drop table x"),
    (of("tenant_id", "present"), "/ field names no field of a product: tenant_id"),
    (of("attributes..x", "present"), "/ field names no field of a product: attributes..x"),
    ({"field": 1, "op": "present"}, "/ field must name a field"),
    ({"field": "price", "value": 1}, "/ op is missing"),
    (of("price", "~", "x"), "/ ~ is no operator"),
    (of("price", "present", 1), "/ present takes no value"),
    (of("price", ">"), "/ > needs text or a number"),
    (of("price", ">", [1]), "/ > needs text or a number"),
    (of("price", "=", {}), "/ = needs text, a number, true or false"),
    (of("price", "in", []), "/ in needs a list of 1 to 100 texts, numbers or booleans"),
    (of("price", "in", [[1]]), "/ in needs a list of 1 to 100 texts, numbers or booleans"),
    (of("price", "in", list(range(101))), "/ in needs a list of 1 to 100 texts, numbers or booleans"),
    (of("price", "between", [1]), "/ between needs [low, high], of which one may be null"),
    (of("price", "between", [1, "b"]), "/ between needs [low, high], of which one may be null"),
    (of("name", "length", ["a", "b"]), "/ length needs [low, high], of which one may be null"),
    (of("name", "length", [None, None]), "/ length needs [low, high], of which one may be null"),
    (
        of("name", "matches", "(a)\\1"),
        (
            "/ matches has an escape other than \\d \\w \\s \\D \\W \\S \\t \\n \\r and \\ before"
            " punctuation; backreferences are not accepted"
        ),
    ),
    (of("name", "matches", 1), "/ matches needs a regular expression"),
    (of("price", "in", [1], other="price"), "/ has both a value and another field"),
    (of("price", "in", other="price"), "/ other goes with = != < <= > >= alone"),
    (of("price", "<", other="cost"), "/ other names no field of a product: cost"),
    ({"or": [COMPARES] * 64}, "the condition is larger than 8 KiB or 64 parts"),
    (of("name", "=", "x" * 9000), "the condition is larger than 8 KiB or 64 parts"),
]


async def test_what_is_no_condition_is_not_saved(db: Connection, company: Company) -> None:
    for condition, problem in REFUSED:
        with pytest.raises(psycopg.Error, match=r"rule\.invalid") as refused:
            await add_rule(db, company, "bad", condition)
        assert json.loads(refused.value.diag.message_detail or "") == [problem]


async def test_depth_is_bounded(db: Connection) -> None:
    nested: Json = COMPARES
    for _ in range(8):
        nested = {"not": nested}
    assert await value(db, "select private.condition_problems('product', %s)", Jsonb(nested)) == []
    (problem,) = await value(db, "select private.condition_problems('product', %s)", Jsonb({"not": nested}))
    assert problem.endswith("is nested more than 8 deep")


async def add_rule(
    db: Connection,
    company: Company,
    name: str,
    condition: Json,
    severity: str = "error",
    message: str = "Put it right.",
) -> Any:
    return await value(
        db,
        "insert into public.validation_rules (tenant_id, name, condition, severity, message)"
        " values (%s, %s, %s, %s, %s) returning id",
        company.tenant_id,
        name,
        Jsonb(condition),
        severity,
        message,
    )


async def test_rules_refuse_the_products_of_their_tenant_alone(db: Connection, company: Company) -> None:
    await add_rule(db, company, "has_weight", of("attributes.weight", ">", 0), message="A weight is needed.")
    rule = await add_rule(db, company, "sku_form", of("sku", "matches", "^[A-Z]"))
    with pytest.raises(psycopg.Error, match=r"product\.invalid") as refused:
        await add_product(db, company, "a")
    assert json.loads(refused.value.diag.message_detail or "") == [
        {
            "code": "rule.has_weight",
            "field": "attributes.weight",
            "severity": "error",
            "detail": "A weight is needed.",
        },
        {"code": "rule.sku_form", "field": "sku", "severity": "error", "detail": "Put it right."},
    ]
    await add_product(db, await found_company(db, "other"), "a")
    await db.execute("update public.validation_rules set enabled = false where id <> %s", (rule,))
    await add_product(db, company, "A")


async def test_managers_write_rules_and_members_read_them(db: Connection, company: Company) -> None:
    for role, may_write in {"manager": True, "clerk": False, "viewer": False, "integration": False}.items():
        member = await add_member(db, company, role)
        async with acting_as(db, member):
            if may_write:
                await add_rule(db, company, role, COMPARES)
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    async with db.transaction():
                        await add_rule(db, company, role, COMPARES)
            assert await value(db, "select count(*) from public.validation_rules") == 1
            changed = await db.execute(
                "update public.validation_rules set enabled = true where tenant_id = %s", (company.tenant_id,)
            )
            assert changed.rowcount == (1 if may_write else 0)
    stranger = await found_company(db, "other")
    async with acting_as(db, stranger.owner):
        assert await value(db, "select count(*) from public.validation_rules") == 0


async def test_a_stranger_learns_nothing_of_the_rules(db: Connection, company: Company) -> None:
    await add_rule(db, company, "secret", of("price", "<", 0), message="Our margin is 40 %.")
    stranger = await found_company(db, "other")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, stranger.owner):
            await add_product(db, company)


WARNINGS = (
    "select p.sku, w.code, w.field, w.detail, w.version from public.validation_warnings w"
    " join public.products p on p.id = w.product_id order by 1, 2"
)


async def test_warnings_are_noted_and_cleared(db: Connection, company: Company) -> None:
    rule = await add_rule(
        db, company, "has_weight", of("attributes.weight", "present"), "warning", "No weight yet."
    )
    product = await add_product(db, company, "A")
    await add_product(db, company, "B")
    note = ("rule.has_weight", "attributes.weight", "No weight yet.")
    assert await rows(db, WARNINGS) == [("A", *note, 1), ("B", *note, 1)]
    await db.execute("update public.products set name = 'Renamed' where id = %s", (product,))
    assert await rows(db, WARNINGS) == [("A", *note, 2), ("B", *note, 1)]
    await db.execute("update public.products set attributes = '{\"weight\": 1}' where id = %s", (product,))
    assert await rows(db, WARNINGS) == [("B", *note, 1)]
    await db.execute("update public.validation_rules set enabled = false where id = %s", (rule,))
    assert await rows(db, WARNINGS) == []


async def test_members_read_their_tenants_warnings_and_nobody_writes_them(
    db: Connection, company: Company
) -> None:
    await add_rule(db, company, "has_weight", of("attributes.weight", "present"), "warning")
    await add_product(db, company)
    async with acting_as(db, await add_member(db, company, "viewer")):
        assert await value(db, "select count(*) from public.validation_warnings") == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with db.transaction():
                await db.execute("delete from public.validation_warnings where version = 1")
    async with acting_as(db, (await found_company(db, "other")).owner):
        assert await value(db, "select count(*) from public.validation_warnings") == 0


async def test_a_tenant_has_at_most_a_hundred_rules(db: Connection, company: Company) -> None:
    for number in range(100):
        await add_rule(db, company, f"rule_{number}", COMPARES)
    with pytest.raises(psycopg.Error, match=r"rule\.too_many"):
        await add_rule(db, company, "one_more", COMPARES)
