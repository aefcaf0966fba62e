"""Commands on one product: refused like a direct write, and done once however often they are called."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from psycopg import errors

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.company import Company, add_member, add_product, found_company
from tests.sql.keys import act, refused

BOOT: dict[str, Any] = {
    "sku": "BOOT",
    "name": "Boot",
    "price": 119.9,
    "currency": "EUR",
    "attributes": {"size": 42},
}
WRITABLE = (
    "parent_id", "category_id", "sku", "name", "description", "status", "price", "currency", "attributes",
    "publish_at",
)  # fmt: skip


async def create(db: Connection, company: Company, product: object = BOOT, **arguments: object) -> Any:
    return await act(db, company, "create_product", p_product=product, **arguments)


async def replace(
    db: Connection, company: Company, product_id: object, product: object, **arguments: object
) -> Any:
    return await act(db, company, "replace_product", p_product_id=product_id, p_product=product, **arguments)


async def test_a_product_is_made_with_defaults_and_given_back_as_it_is_stored(
    db: Connection, company: Company
) -> None:
    await db.execute("update public.tenants set currency = 'NOK'")
    made = await create(db, company, {"sku": "SOCK", "name": "Sock"})
    stored = await value(db, "select to_jsonb(p) from public.products p")
    assert made == stored
    assert {name: made[name] for name in WRITABLE} == {
        **dict.fromkeys(("parent_id", "category_id", "publish_at")),
        "sku": "SOCK",
        "name": "Sock",
        "description": "",
        "status": "draft",
        "price": 0,
        "currency": "NOK",
        "attributes": {},
    }
    chosen = str(uuid.uuid4())
    assert (await create(db, company, BOOT | {"id": chosen, "version": 9}))["id"] == chosen
    variant = await create(db, company, {"sku": "BOOT-42", "name": "Boot 42", "parent_sku": "BOOT"})
    assert variant["parent_id"] == chosen


async def test_replacing_sets_every_field_and_what_is_left_out_to_its_default(
    db: Connection, company: Company
) -> None:
    made = await create(db, company, BOOT | {"description": "Sturdy", "status": "active"})
    whole = await replace(db, company, made["id"], {"sku": "BOOT", "name": "Bot"}, p_expected_version=1)
    assert whole == await value(db, "select to_jsonb(p) from public.products p")
    assert (whole["version"], whole["status"], whole["price"], whole["attributes"]) == (2, "draft", 0, {})
    assert (whole["description"], whole["currency"], whole["created_at"]) == ("", "USD", made["created_at"])
    # What was read can be sent back: nothing changed, so it is no version and no event.
    assert await replace(db, company, made["id"], whole) == whole
    assert await value(db, "select count(*) from public.product_versions") == 1


async def test_an_old_version_is_refused_wherever_it_stands(db: Connection, company: Company) -> None:
    made = await create(db, company)
    await replace(db, company, made["id"], made | {"price": 5})
    with refused("version.stale"):
        await replace(db, company, made["id"], made | {"price": 6})
    with refused("version.stale"):
        await replace(db, company, made["id"], BOOT, p_expected_version=1)
    with refused("version.stale"):
        await replace(db, company, made["id"], BOOT | {"version": 1}, p_expected_version=2)
    assert await value(db, "select price::int from public.products") == 5


BAD: list[tuple[object, str]] = [
    ("[]", "row.invalid"),
    ("null", "row.invalid"),
    ('"boot"', "row.invalid"),
    (BOOT | {"colour": "red"}, "row.field_unknown"),
    (BOOT | {"search": "x"}, "row.field_unknown"),
    (BOOT | {"price": "dear"}, "product.invalid"),
    (BOOT | {"price": 1.23456}, "product.invalid"),
    (BOOT | {"price": -1}, "product.invalid"),
    (BOOT | {"currency": "XYZ"}, "product.invalid"),
    (BOOT | {"name": ""}, "product.invalid"),
    (BOOT | {"name": None}, "product.invalid"),
    ({"name": "Boot"}, "product.invalid"),
    (BOOT | {"attributes": []}, "product.invalid"),
    (BOOT | {"status": "sold"}, "product.invalid"),
    (BOOT | {"parent_id": "no id"}, "product.invalid"),
    (BOOT | {"publish_at": "soon"}, "product.invalid"),
    (BOOT | {"version": "new"}, "product.invalid"),
    (BOOT | {"parent_sku": "NONE"}, "product.parent_missing"),
    (BOOT | {"price": 0, "status": "active"}, "product.not_publishable"),
]


@pytest.mark.parametrize(("product", "code"), BAD)
async def test_bad_products_are_refused_by_both(
    db: Connection, company: Company, product: object, code: str
) -> None:
    there = await add_product(db, company)
    with refused(code):
        await create(db, company, product)
    with refused(code):
        await replace(db, company, there, product)
    assert await rows(db, "select name, version from public.products") == [("Shirt", 1)]


async def test_the_refusal_is_that_of_a_direct_write(db: Connection, company: Company) -> None:
    """The same code, and the same list of everything that is wrong."""
    bad = {"sku": "A", "name": "<script>alert(1)</script>", "price": -1}
    with pytest.raises(errors.Error) as direct:
        async with acting_as(db, company.owner):
            await db.execute(
                "insert into public.products (tenant_id, sku, name, price) values (%s, %s, %s, %s)",
                (company.tenant_id, *bad.values()),
            )
    with pytest.raises(errors.Error) as command:
        await create(db, company, bad)
    told = [
        (e.value.sqlstate, e.value.diag.message_primary, e.value.diag.message_detail)
        for e in (direct, command)
    ]
    assert told[0] == told[1]
    await add_product(db, company, "TAKEN")
    with pytest.raises(errors.UniqueViolation, match="products_sku_living"):
        await create(db, company, BOOT | {"sku": "TAKEN"})
    with pytest.raises(errors.ForeignKeyViolation, match="products_category"):
        await create(db, company, BOOT | {"category_id": str(uuid.uuid4())})


async def test_replacing_moves_nothing_and_revives_nothing(db: Connection, company: Company) -> None:
    made = await create(db, company)
    stranger = await found_company(db, "other")
    with refused("row.id_changed"):
        await replace(db, company, made["id"], BOOT | {"id": str(uuid.uuid4())})
    with refused("row.tenant_changed"):
        await replace(db, company, made["id"], BOOT | {"tenant_id": str(stranger.tenant_id)})
    with refused("product.not_found"):
        await replace(db, stranger, made["id"], BOOT)
    with refused("product.not_found"):
        await replace(db, company, uuid.uuid4(), BOOT)
    gone = await act(db, company, "delete_product", p_product_id=made["id"])
    assert gone is not None
    with refused("product.deleted"):
        await replace(db, company, made["id"], BOOT)


@pytest.mark.parametrize("role", ["clerk", "viewer"])
async def test_who_may_not_write_products_may_not_here(db: Connection, company: Company, role: str) -> None:
    made = await create(db, company)
    clerk = Company(company.tenant_id, await add_member(db, company, role))
    for call in (create(db, clerk, BOOT | {"sku": "B"}), replace(db, clerk, made["id"], BOOT)):
        with refused("access.denied"):
            await call
    integration = Company(company.tenant_id, await add_member(db, company, "integration"))
    await replace(db, integration, made["id"], BOOT | {"name": "Ours"})
    with refused("access.denied"):
        await act(db, integration, "delete_product", p_product_id=made["id"], p_key="1")
    stranger = await found_company(db, "other")
    with refused("tenant.not_found"):
        await create(db, Company(company.tenant_id, stranger.owner))


async def test_a_key_makes_each_command_once_and_another_request_is_refused(
    db: Connection, company: Company
) -> None:
    made = await create(db, company, p_key="1")
    assert await create(db, company, p_key="1") == made
    with refused("idempotency.key_reused"):
        await create(db, company, BOOT | {"name": "Other"}, p_key="1")
    new = BOOT | {"name": "New"}
    whole = await replace(db, company, made["id"], new, p_key="2", p_expected_version=1)
    assert whole["version"] == 2
    assert await replace(db, company, made["id"], new, p_key="2", p_expected_version=1) == whole
    with refused("idempotency.key_reused"):
        await replace(db, company, made["id"], new, p_key="2")
    with refused("idempotency.key_reused"):
        await act(db, company, "publish_product", p_product_id=made["id"], p_key="1")
    for command, key in (("publish_product", "3"), ("delete_product", "4")):
        twice = [await act(db, company, command, p_product_id=made["id"], p_key=key) for _ in range(2)]
        assert twice[0] == twice[1]
        with refused("idempotency.key_reused"):
            await act(db, company, command, p_product_id=uuid.uuid4(), p_key=key)
    states = "select operation, command_id from private.outbox where entity = 'product' order by id"
    assert await rows(db, states) == [
        ("INSERT", "1"), *(("UPDATE", key) for key in "234"),
    ]  # fmt: skip


async def test_a_repeated_publish_does_not_publish_again(db: Connection, company: Company) -> None:
    """Naively it would: since the first call somebody has taken the product off sale."""
    made = await create(db, company)
    publish = {"p_product_id": made["id"], "p_key": "once"}
    await act(db, company, "publish_product", **publish)
    await act(db, company, "unpublish_product", p_product_id=made["id"])
    await act(db, company, "publish_product", **publish)
    assert await column(db, "select status from public.products") == ["draft"]


async def test_a_repeated_deletion_does_not_delete_what_was_restored(
    db: Connection, company: Company
) -> None:
    made = await create(db, company)
    delete = {"p_product_id": made["id"], "p_key": "once"}
    await act(db, company, "delete_product", **delete)
    await act(db, company, "restore_product", p_product_id=made["id"])
    await act(db, company, "delete_product", **delete)
    assert await column(db, "select deleted_at from public.products") == [None]


async def test_a_failure_is_not_remembered(db: Connection, company: Company) -> None:
    with refused("product.invalid"):
        await create(db, company, BOOT | {"price": -1}, p_key="1")
    assert (await create(db, company, BOOT, p_key="1"))["version"] == 1


async def test_concurrent_twins_make_one_product(
    db: Connection, database: Database, company: Company
) -> None:
    sessions = [await database.connect() for _ in range(10)]
    made = await asyncio.gather(*(create(session, company, p_key="1") for session in sessions))
    assert len({answer["id"] for answer in made}) == 1
    whole = await asyncio.gather(
        *(replace(s, company, made[0]["id"], BOOT | {"name": "New"}, p_key="2") for s in sessions)
    )
    assert {answer["version"] for answer in whole} == {2}
    assert await value(db, "select count(*) from public.products") == 1


async def test_of_twins_that_replace_one_version_one_wins(
    db: Connection, database: Database, company: Company
) -> None:
    made = await create(db, company)
    sessions = [await database.connect() for _ in range(10)]

    async def attempt(session: Connection, n: int) -> str:
        try:
            await replace(session, company, made["id"], BOOT | {"name": f"N {n}"}, p_expected_version=1)
        except errors.Error as error:
            return error.diag.message_primary or ""
        return "won"

    answers = await asyncio.gather(*(attempt(session, n) for n, session in enumerate(sessions)))
    assert sorted(answers) == [*["version.stale"] * 9, "won"]


@pytest.mark.parametrize("key", [None, "once"])
async def test_no_product_is_refused_with_and_without_a_key(
    db: Connection, company: Company, key: str | None
) -> None:
    with refused("row.invalid"):
        await create(db, company, None, p_key=key)
    made = await create(db, company)
    with refused("row.invalid"):
        await replace(db, company, made["id"], None, p_key=key)
