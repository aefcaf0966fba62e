"""Publishing: business rules for what is active, by whatever way, and plans that the worker carries out."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.catalogue import add_variant, details, product_command, set_price
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product, add_products, found_company

STATUS = "select status from public.products where id = %s"
HOUR = dt.timedelta(hours=1)


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    """A draft that may be published."""
    product = await add_product(db, company)
    await set_price(db, product)
    return product


async def events(db: Connection) -> list[str]:
    await rpc(db, "dispatch_outbox")
    return await column(db, "select type from public.events where entity = 'product' order by seq")


async def codes(db: Connection, company: Company, product: uuid.UUID) -> set[str]:
    """The rules that forbid publishing."""
    with pytest.raises(psycopg.Error, match=r"product\.not_publishable") as refused:
        await product_command(db, company, "publish", product)
    assert refused.value.sqlstate == "PT422"
    failures: list[dict[str, Any]] = details(refused.value)
    assert all(set(one) == {"code", "field", "severity", "detail"} for one in failures)
    return {one["code"] for one in failures}


async def test_a_draft_is_published_and_unpublished(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await product_command(db, company, "publish", product, 2)
    assert await value(db, STATUS, product) == "active"
    await product_command(db, company, "publish", product, 3)
    await product_command(db, company, "unpublish", product, 3)
    assert await rows(db, "select status, version from public.products") == [("draft", 4)]
    assert await events(db) == [
        "product.created", "product.updated", "product.published", "product.unpublished",
    ]  # fmt: skip


async def test_every_broken_rule_is_told_at_once(db: Connection, company: Company) -> None:
    parent = await add_product(db, company)
    variant = await add_variant(db, company, parent, "SMALL")
    await db.execute("update public.products set status = 'archived' where id = %s", (variant,))
    assert await codes(db, company, variant) == {
        "publish.archived", "publish.price_missing", "publish.parent_not_active",
    }  # fmt: skip
    assert await value(db, STATUS, variant) == "archived"


async def test_what_is_free_needs_no_price(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    for not_free in ("{}", '{"free": false}', '{"free": "true"}'):
        await db.execute("update public.products set attributes = %s", (not_free,))
        assert await codes(db, company, product) == {"publish.price_missing"}
    await db.execute("update public.products set attributes = '{\"free\": true}'")
    await product_command(db, company, "publish", product)


async def test_an_archived_product_is_unpublished_first(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute("update public.products set status = 'archived'")
    assert await codes(db, company, product) == {"publish.archived"}
    await product_command(db, company, "unpublish", product)
    await product_command(db, company, "publish", product)
    assert (await events(db))[2:] == ["product.archived", "product.unpublished", "product.published"]


async def test_no_way_leads_around_the_rules(db: Connection, company: Company, product: uuid.UUID) -> None:
    add = "insert into public.products (tenant_id, sku, name, status) values (%s, 'NEW', 'New', 'active')"
    await product_command(db, company, "publish", product)
    for change in (
        "update public.products set price = 0",
        "update public.products set name = ' '",
    ):
        with pytest.raises(psycopg.Error, match=r"product\.not_publishable"):
            async with acting_as(db, company.owner):
                await db.execute(change.encode())
    with pytest.raises(psycopg.Error, match=r"product\.not_publishable"):
        async with acting_as(db, company.owner):
            await db.execute(add, (company.tenant_id,))
    await db.execute("update public.products set description = 'New words'")


async def test_an_import_takes_a_catalogue_as_it_is(db: Connection, company: Company) -> None:
    given = {"sku": "GIFT", "name": "Gift", "status": "active", "price": "0", "currency": "USD"}
    (line,) = await rpc(db, "import_products", p_tenant_id=company.tenant_id, p_rows=[given])
    assert line["result"] == "created"


async def test_a_parent_takes_its_variants_along(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    small, large = [await add_variant(db, company, product, sku) for sku in ("SMALL", "LARGE")]
    await set_price(db, small, large)
    assert await codes(db, company, small) == {"publish.parent_not_active"}
    for each in (product, small):
        await product_command(db, company, "publish", each)
    async with acting_as(db, company.owner):
        await db.execute("update public.products set status = 'archived' where id = %s", (product,))
    assert [await value(db, STATUS, each) for each in (product, small, large)] == [
        "archived", "archived", "draft",
    ]  # fmt: skip


async def test_a_variant_is_not_published_beside_its_parents_end(
    db: Connection, other: Connection, third: Connection, company: Company, product: uuid.UUID
) -> None:
    small = await add_variant(db, company, product, "SMALL")
    await set_price(db, small)
    await product_command(db, company, "publish", product)
    async with open_transaction(other):
        await other.execute("update public.products set status = 'draft' where id = %s", (product,))
        late = asyncio.create_task(product_command(db, company, "publish", small))
        await waits_for_a_lock(third, db)
        await other.commit()
        with pytest.raises(psycopg.Error, match=r"product\.not_publishable"):
            await late


async def test_who_may_not_is_refused(db: Connection, company: Company, product: uuid.UUID) -> None:
    rival = await found_company(db, "rival")
    for name in ("publish", "unpublish"):
        for role in ("clerk", "viewer"):
            person = await add_member(db, company, role)
            with pytest.raises(psycopg.Error, match=r"access\.denied"):
                await product_command(db, company, name, product, who=person)
        with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
            await product_command(db, company, name, product, who=rival.owner)
        with pytest.raises(psycopg.Error, match=r"product\.not_found"):
            await product_command(db, rival, name, product)
        with pytest.raises(psycopg.Error, match=r"version\.stale"):
            await product_command(db, company, name, product, 1)
    await db.execute("update public.products set deleted_at = now()")
    with pytest.raises(psycopg.Error, match=r"product\.deleted"):
        await product_command(db, company, "publish", product)


# -- plans ---------------------------------------------------------------------------------------------------

PLAN = "update public.products set publish_at = private.now() + %s where id = any (%s)"
JOBS = "select kind, unique_key is not null from queue.jobs order by due_at"
CLAIM = {"p_worker": "w", "p_kinds": ["catalogue.publish_due"], "p_limit": 10}


async def test_a_plan_is_a_job_of_its_moment(db: Connection, company: Company) -> None:
    await stop_clock(db)
    products = await add_products(db, company, 3)
    await set_price(db, *products)
    await db.execute(PLAN, (HOUR, products[:2]))
    await db.execute(PLAN, (2 * HOUR, products[2:]))
    assert await rows(db, JOBS) == [("catalogue.publish_due", True)] * 2, "one for each moment"
    assert (await rpc(db, "claim_jobs", **CLAIM))["jobs"] == []
    await move_clock(db, HOUR)
    assert len((await rpc(db, "claim_jobs", **CLAIM))["jobs"]) == 1
    assert await rpc(db, "publish_due_products") == {"published": 2, "failed": 0, "more": False}
    assert await rpc(db, "publish_due_products") == {"published": 0, "failed": 0, "more": False}
    assert await column(db, "select status from public.products order by sku") == [
        "active",
        "active",
        "draft",
    ]
    assert await column(db, "select publish_at is null from public.products order by sku") == [
        True,
        True,
        False,
    ]
    assert (await events(db))[-2:] == ["product.published"] * 2


async def test_what_may_not_be_published_says_why_and_is_not_tried_again(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    unpriced = await add_product(db, company, "UNPRICED")
    await db.execute(PLAN, (-HOUR, [product, unpriced]))
    assert await rpc(db, "publish_due_products") == {"published": 1, "failed": 1, "more": False}
    query = "select status, publish_at, publish_failures -> 0 ->> 'code' from public.products where id = %s"
    assert await rows(db, query, unpriced) == [("draft", None, "publish.price_missing")]
    assert set((await events(db))[-2:]) == {"product.published", "product.publish_failed"}
    assert (await rpc(db, "publish_due_products"))["failed"] == 0
    await set_price(db, unpriced)
    await db.execute(PLAN, (-HOUR, [unpriced]))
    assert await rpc(db, "publish_due_products") == {"published": 1, "failed": 0, "more": False}
    assert await rows(db, query, unpriced) == [("active", None, None)]


async def test_a_long_list_is_done_in_slices_parents_first(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    variants = [await add_variant(db, company, product, f"V-{number}") for number in range(4)]
    await set_price(db, *variants)
    async with db.transaction():
        await db.execute(
            "update public.products set publish_at = timestamptz '2026-01-01' where parent_id is not null"
        )
        await db.execute("update public.products set publish_at = timestamptz '2026-01-01'")
    answers = [await rpc(db, "publish_due_products", p_limit=2) for _ in range(3)]
    assert [(one["published"], one["more"]) for one in answers] == [(2, True), (2, True), (1, False)]


async def test_a_plan_ends_with_unpublishing_and_deleting(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    for name in ("unpublish", "delete"):
        await db.execute(PLAN, (HOUR, [product]))
        await product_command(db, company, name, product)
        assert await value(db, "select publish_at from public.products") is None


async def test_only_drafts_have_plans(db: Connection, company: Company, product: uuid.UUID) -> None:
    await product_command(db, company, "publish", product)
    with pytest.raises(psycopg.errors.CheckViolation, match="products_publish_at_of_drafts"):
        await db.execute(PLAN, (HOUR, [product]))
    await product_command(db, company, "unpublish", product)
    with pytest.raises(psycopg.errors.CheckViolation, match="products_publish_at_finite"):
        await db.execute("update public.products set publish_at = 'infinity'")


async def test_two_workers_share_what_is_due(
    db: Connection, other: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute(PLAN, (-HOUR, [product]))
    async with open_transaction(other):
        assert (await rpc(other, "publish_due_products"))["published"] == 1
        assert (await rpc(db, "publish_due_products"))["published"] == 0
        await other.commit()
    assert await value(db, STATUS, product) == "active"
