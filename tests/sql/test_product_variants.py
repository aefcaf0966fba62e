"""Variants: products with a parent, one level deep, which inherit nothing."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import open_transaction, rows, value, waits_for_a_lock
from tests.sql.catalogue import add_variant
from tests.sql.company import Company, add_product, found_company

ADOPT = "update public.products set parent_id = %s where id = %s"


async def test_a_variant_has_no_variants(db: Connection, company: Company) -> None:
    shirt = await add_product(db, company)
    small = await add_variant(db, company, shirt, "SMALL")
    with pytest.raises(psycopg.Error, match=r"product\.variant_depth"):
        await add_variant(db, company, small, "SMALLER")
    other = await add_product(db, company, "OTHER")
    with pytest.raises(psycopg.Error, match=r"product\.variant_depth"):
        await db.execute(ADOPT, (small, other))


async def test_a_product_with_variants_becomes_none(db: Connection, company: Company) -> None:
    shirt, other = await add_product(db, company), await add_product(db, company, "OTHER")
    small = await add_variant(db, company, shirt, "SMALL")
    with pytest.raises(psycopg.Error, match=r"product\.variant_depth"):
        await db.execute(ADOPT, (other, shirt))
    await db.execute(ADOPT, (other, small))
    await db.execute(ADOPT, (other, shirt))
    assert await value(db, "select count(*) from public.products where parent_id = %s", other) == 2


async def test_a_parent_is_of_the_same_tenant_and_alive(db: Connection, company: Company) -> None:
    shirt = await add_product(db, company)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await add_variant(db, await found_company(db, "rival"), shirt, "SMALL")
    await db.execute("update public.products set deleted_at = now()")
    with pytest.raises(psycopg.Error, match=r"product\.parent_missing"):
        await add_variant(db, company, shirt, "SMALL")


async def test_a_variant_inherits_nothing(db: Connection, company: Company) -> None:
    shirt = await add_product(db, company)
    await db.execute(
        "update public.products"
        " set price = 9, description = 'Soft', attributes = '{\"a\": 1}', currency = 'EUR'"
    )
    small = await add_variant(db, company, shirt, "SMALL")
    query = "select price, description, attributes, currency from public.products where id = %s"
    assert await rows(db, query, small) == [(0, "", {}, "USD")]


@pytest.mark.parametrize("parent_first", [True, False])
async def test_two_at_once_make_no_second_level(
    db: Connection, other: Connection, third: Connection, company: Company, parent_first: bool
) -> None:
    """SHIRT becomes a variant of TOP while SMALL becomes one of SHIRT, in either order."""
    top, shirt, small = [await add_product(db, company, sku) for sku in ("TOP", "SHIRT", "SMALL")]
    moves = [(top, shirt), (shirt, small)]
    first, second = moves if parent_first else reversed(moves)
    async with open_transaction(other):
        await other.execute(ADOPT, first)
        late = asyncio.create_task(db.execute(ADOPT, second))
        await waits_for_a_lock(third, db)
        await other.commit()
        with pytest.raises(psycopg.Error, match=r"product\.variant_depth"):
            await late
