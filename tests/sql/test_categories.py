"""Categories: a tree per tenant, without rings and at most ten levels deep."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, open_transaction, rpc, value, waits_for_a_lock
from tests.sql.company import Company, add_member, add_product, found_company

MOVE = "update public.categories set parent_id = %s where id = %s"


async def add_category(
    db: Connection, company: Company, slug: str, parent: uuid.UUID | None = None
) -> uuid.UUID:
    category: uuid.UUID = await value(
        db,
        "insert into public.categories (tenant_id, parent_id, name, slug)"
        " values (%s, %s, %s, %s) returning id",
        company.tenant_id,
        parent,
        slug.title(),
        slug,
    )
    return category


async def add_chain(db: Connection, company: Company, length: int, prefix: str = "c") -> list[uuid.UUID]:
    """Categories each below the one before."""
    chain: list[uuid.UUID] = []
    for number in range(length):
        parent = chain[-1] if chain else None
        chain.append(await add_category(db, company, f"{prefix}{number}", parent))
    return chain


async def test_managers_keep_categories_and_everybody_sees_them(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    add = "insert into public.categories (tenant_id, name, slug) values (%s, 'Shoes', %s)"
    for role, may in {"manager": True, "integration": True, "clerk": False, "viewer": False}.items():
        person = await add_member(db, company, role)
        async with acting_as(db, person):
            seen = await value(db, "select count(*) from public.categories")
        if may:
            async with acting_as(db, person):
                await db.execute(add, (company.tenant_id, role))
                assert await value(db, "select count(*) from public.categories") == seen + 1
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with acting_as(db, person):
                    await db.execute(add, (company.tenant_id, role))
    async with acting_as(db, rival.owner):
        assert await column(db, "select slug from public.categories") == []
        assert (await db.execute("update public.categories set name = 'Mine'")).rowcount == 0


async def test_a_slug_is_unique_among_its_siblings(db: Connection, company: Company) -> None:
    shoes = await add_category(db, company, "shoes")
    await add_category(db, company, "boots", shoes)
    await add_category(db, company, "boots")
    for parent in (None, shoes):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await add_category(db, company, "boots", parent)
    await add_category(db, await found_company(db, "rival"), "shoes")
    for slug in ("", "Shoes", "a b", "-a", "å"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await add_category(db, company, slug)


async def test_ten_levels_are_the_most(db: Connection, company: Company) -> None:
    deep = await add_chain(db, company, 10)
    with pytest.raises(psycopg.Error, match=r"category\.too_deep"):
        await add_category(db, company, "eleventh", deep[-1])
    pair = await add_chain(db, company, 2, "pair")
    with pytest.raises(psycopg.Error, match=r"category\.too_deep"):
        await db.execute(MOVE, (deep[8], pair[0]))
    await db.execute(MOVE, (deep[7], pair[0]))


async def test_no_category_lies_below_itself(db: Connection, company: Company) -> None:
    top, middle, bottom = await add_chain(db, company, 3)
    for below in (middle, bottom):
        with pytest.raises(psycopg.Error, match=r"category\.cycle"):
            await db.execute(MOVE, (below, top))
    with pytest.raises(psycopg.errors.CheckViolation):
        await db.execute(MOVE, (top, top))
    one, two = await add_category(db, company, "one"), await add_category(db, company, "two")
    swap = "update public.categories set parent_id = case id when %(a)s then %(b)s::uuid else %(a)s end"
    with pytest.raises(psycopg.Error, match=r"category\.cycle"):
        await db.execute(swap + " where id in (%(a)s, %(b)s)", {"a": one, "b": two})


async def test_two_moves_at_once_close_no_ring(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    one, two = await add_category(db, company, "one"), await add_category(db, company, "two")
    async with open_transaction(other):
        await other.execute(MOVE, (two, one))
        second = asyncio.create_task(db.execute(MOVE, (one, two)))
        await waits_for_a_lock(third, db)
        await other.commit()
        with pytest.raises(psycopg.Error, match=r"category\.cycle"):
            await second


async def test_nothing_of_another_tenant_is_above_it(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    theirs = await add_category(db, rival, "theirs")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await add_category(db, company, "mine", theirs)
    product = await add_product(db, company)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await db.execute("update public.products set category_id = %s where id = %s", (theirs, product))


async def test_what_is_used_cannot_be_deleted(db: Connection, company: Company) -> None:
    top, bottom = await add_chain(db, company, 2)
    product = await add_product(db, company)
    await db.execute("update public.products set category_id = %s where id = %s", (bottom, product))
    for used in (top, bottom):
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await db.execute("delete from public.categories where id = %s", (used,))
    await db.execute("update public.products set category_id = null")
    for free in (bottom, top):
        await db.execute("delete from public.categories where id = %s", (free,))


async def test_its_changes_are_events(db: Connection, company: Company) -> None:
    category = await add_category(db, company, "shoes")
    await db.execute("update public.categories set name = 'Boots' where id = %s", (category,))
    await db.execute("delete from public.categories where id = %s", (category,))
    await rpc(db, "dispatch_outbox")
    types = await column(db, "select type from public.events where entity = 'category' order by seq")
    assert types == ["category.created", "category.updated", "category.deleted"]
