"""History of products: every former state is kept, and an old one can become the newest."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, rpc, value
from tests.sql.catalogue import command
from tests.sql.company import Company, add_member, add_product, found_company, rename

HISTORY = "select version, state ->> 'name', actor from public.product_versions order by version"


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    """Of the names Shirt, Tee and Blouse, the last by the owner's hand."""
    product = await add_product(db, company)
    await rename(db, product, "Tee")
    async with acting_as(db, company.owner):
        await rename(db, product, "Blouse")
    return product


async def roll_back(
    db: Connection,
    company: Company,
    product: uuid.UUID,
    to: int,
    expected: int | None = None,
    who: uuid.UUID | None = None,
) -> None:
    await command(
        db, company, "rollback_product", who=who,
        p_product_id=product, p_to_version=to, p_expected_version=expected,
    )  # fmt: skip


async def test_every_former_state_is_kept_with_who_replaced_it(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    assert await rows(db, HISTORY) == [(1, "Shirt", None), (2, "Tee", company.owner)]
    await rename(db, product, "Blouse")
    assert len(await rows(db, HISTORY)) == 2, "a write that changes nothing has no history"
    await db.execute("delete from public.products where id = %s", (product,))
    assert (await rows(db, HISTORY))[-1] == (3, "Blouse", None)


async def test_a_former_state_is_the_whole_row_and_no_more(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    of_table = await column(
        db,
        "select attname::text from pg_attribute"
        " where attrelid = 'public.products'::regclass and attnum > 0 and not attisdropped",
    )
    kept = await value(db, "select state from public.product_versions where version = 1")
    assert set(kept) == set(of_table)
    assert "words" not in kept


async def test_members_read_history_and_nobody_writes_it(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    viewer = await add_member(db, company, "viewer")
    rival = await found_company(db, "rival")
    query = "select count(*) from public.product_versions"
    async with acting_as(db, viewer):
        assert await value(db, query) == 2
    async with acting_as(db, rival.owner):
        assert await value(db, query) == 0
    copied = "select tenant_id, id, 9, '{}' from public.products"
    for change in (
        "update public.product_versions set version = 9",
        "delete from public.product_versions",
        f"insert into public.product_versions (tenant_id, product_id, version, state) {copied}",
    ):
        for role in ("authenticated", "service_role"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with acting_as(db, company.owner, role=role):
                    await db.execute(change.encode())


async def test_a_product_that_comes_back_under_its_id_begins_a_second_history(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute("delete from public.products where id = %s", (product,))
    await db.execute(
        "insert into public.products (id, tenant_id, sku, name) values (%s, %s, 'SHIRT', 'Again')",
        (product, company.tenant_id),
    )
    await rename(db, product, "And again")
    assert await value(db, "select count(*) from public.product_versions where version = 1") == 2
    await roll_back(db, company, product, 1)
    assert await value(db, "select name from public.products where id = %s", product) == "Again"


async def test_a_deleted_tenant_takes_its_history_along(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute("delete from public.tenants where id = %s", (company.tenant_id,))
    assert await rows(db, HISTORY) == []


# -- rollback ------------------------------------------------------------------------------------------------


async def test_a_rollback_makes_a_new_version_of_the_old_fields(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute(
        "update public.products set sku = 'BLOUSE', price = 9, attributes = '{\"a\": 1}', description = 'x'"
    )
    await roll_back(db, company, product, 1, expected=4)
    state = "select version, sku, name, price, attributes, description from public.products where id = %s"
    assert await rows(db, state, product) == [(5, "SHIRT", "Shirt", 0, {}, "")]
    assert [version for version, *_ in await rows(db, HISTORY)] == [1, 2, 3, 4]
    await rpc(db, "dispatch_outbox")
    assert await value(db, "select type from public.events order by seq desc limit 1") == "product.updated"


async def test_a_rollback_to_the_present_changes_nothing(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await roll_back(db, company, product, 3)
    assert await value(db, "select version from public.products") == 3


async def test_a_rollback_is_refused(db: Connection, company: Company, product: uuid.UUID) -> None:
    clerk = await add_member(db, company, "clerk")
    rival = await found_company(db, "rival")
    with pytest.raises(psycopg.Error, match=r"version\.stale"):
        await roll_back(db, company, product, 1, expected=2)
    with pytest.raises(psycopg.Error, match=r"product\.version_unknown"):
        await roll_back(db, company, product, 4)
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        await roll_back(db, company, product, 1, who=clerk)
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await roll_back(db, company, product, 1, who=rival.owner)
    with pytest.raises(psycopg.Error, match=r"product\.not_found"):
        await roll_back(db, rival, product, 1)
    await db.execute("update public.products set deleted_at = now()")
    with pytest.raises(psycopg.Error, match=r"product\.deleted"):
        await roll_back(db, company, product, 1)
    assert await value(db, "select name from public.products") == "Blouse"


async def test_a_rollback_meets_the_rules_of_today(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await db.execute("update public.products set sku = 'BLOUSE' where id = %s", (product,))
    await add_product(db, company, "SHIRT")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await roll_back(db, company, product, 1)
