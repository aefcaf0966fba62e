"""Versions: each state of a row has a number, and a write that knows an older one is refused."""

from __future__ import annotations

import asyncio
import json
import uuid

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import open_transaction, rows, value, waits_for_a_lock
from tests.sql.company import Company, add_location, add_product, add_products, found_company, rename

STATE = "select version, name from public.products where id = %s"


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    return await add_product(db, company)


async def test_a_write_with_the_stored_version_makes_the_next(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    write = "update public.products set name = %s, version = %s where id = %s"
    async with acting_as(db, company.owner):
        await db.execute(write, ("Second", 1, product))
        await db.execute(write, ("Third", 2, product))
    assert await rows(db, STATE, product) == [(3, "Third")]


async def test_a_write_with_another_version_is_refused_and_told_the_stored_one(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await rename(db, product, "Second")
    write = "update public.products set name = 'Lost', version = %s where id = %s"
    for sent in (1, 3, 0, -1, 10**12):
        with pytest.raises(psycopg.Error, match=r"version\.stale") as refused:
            async with acting_as(db, company.owner):
                await db.execute(write, (sent, product))
        assert refused.value.sqlstate == "PT409"
        assert refused.value.diag.message_detail == f"You sent version {sent}; the stored version is 2."
    assert await rows(db, STATE, product) == [(2, "Second")]


async def test_a_write_that_names_no_version_is_blind(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    await rename(db, product, "Second")
    async with acting_as(db, company.owner):
        await rename(db, product, "Blind")
    assert await rows(db, STATE, product) == [(3, "Blind")]


async def test_the_filter_form_finds_nothing_when_it_is_stale(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    async with acting_as(db, company.owner):
        write = "update public.products set name = 'Later' where id = %s and version = %s"
        assert (await db.execute(write, (product, 1))).rowcount == 1
        assert (await db.execute(write, (product, 1))).rowcount == 0


async def test_of_two_writers_at_once_one_is_refused(
    db: Connection, other: Connection, third: Connection, product: uuid.UUID
) -> None:
    write = "update public.products set name = %s, version = 1 where id = %s"
    async with open_transaction(other):
        await other.execute(write, ("First", product))
        second = asyncio.create_task(db.execute(write, ("Second", product)))
        await waits_for_a_lock(third, db)
        await other.commit()
        with pytest.raises(psycopg.Error, match=r"version\.stale"):
            await second
    assert await rows(db, STATE, product) == [(2, "First")]


async def test_a_write_that_changes_nothing_keeps_version_and_time(
    db: Connection, product: uuid.UUID
) -> None:
    query = "select version, updated_at, created_at from public.products where id = %s"
    before = await rows(db, query, product)
    await rename(db, product, "Shirt")
    await db.execute("update public.products set version = 1, updated_at = 'infinity', created_at = 'epoch'")
    assert await rows(db, query, product) == before


async def test_a_new_row_begins_at_one_whatever_it_claims(db: Connection, company: Company) -> None:
    state = await rows(
        db,
        "insert into public.products (tenant_id, sku, name, version, created_at, updated_at)"
        " values (%s, 'NEW', 'New', 7, 'epoch', 'epoch')"
        " returning version, created_at = updated_at, created_at > 'epoch'",
        company.tenant_id,
    )
    assert state == [(1, True, True)]


@pytest.mark.parametrize("table", ["products", "locations"])
async def test_id_and_tenant_never_change(db: Connection, company: Company, table: str) -> None:
    await add_product(db, company)
    await add_location(db, company)
    rival = await found_company(db, "rival")
    change = "update public." + table + " set "
    with pytest.raises(psycopg.Error, match=r"row\.id_changed"):
        await db.execute((change + "id = gen_random_uuid()").encode())
    with pytest.raises(psycopg.Error, match=r"row\.tenant_changed"):
        await db.execute((change + f"tenant_id = '{rival.tenant_id}'").encode())


async def test_one_stale_row_refuses_the_whole_statement(db: Connection, company: Company) -> None:
    one, two = await add_products(db, company, 2)
    await rename(db, two, "Newer")
    changes = json.dumps([{"id": str(one), "version": 1}, {"id": str(two), "version": 1}])
    with pytest.raises(psycopg.Error, match=r"version\.stale"):
        await db.execute(
            "update public.products p set name = 'Both', version = c.version"
            " from jsonb_to_recordset(%s) c (id uuid, version bigint) where p.id = c.id",
            (changes,),
        )
    assert await value(db, "select count(*) from public.products where name = 'Both'") == 0


UPSERT = """
    insert into public.products (id, tenant_id, sku, name, version) values (%s, %s, 'SHIRT', 'Upserted', %s)
    on conflict (id) do update set tenant_id = excluded.tenant_id, sku = excluded.sku, name = excluded.name,
      version = excluded.version
"""


async def test_an_upsert_is_held_to_the_version_it_sends(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    """As PostgREST writes `resolution=merge-duplicates`: the BEFORE INSERT trigger has run by then."""
    await rename(db, product, "Second")
    for stale in (1, 3):
        with pytest.raises(psycopg.Error, match=r"version\.stale") as refused:
            async with acting_as(db, company.owner):
                await db.execute(UPSERT, (product, company.tenant_id, stale))
        assert refused.value.diag.message_detail == f"You sent version {stale}; the stored version is 2."
    async with acting_as(db, company.owner):
        await db.execute(UPSERT, (product, company.tenant_id, 2))
    assert await rows(db, STATE, product) == [(3, "Upserted")]
