"""Deleting and restoring: what holds a product is told, and everything comes back."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.catalogue import add_variant, details, product_command
from tests.sql.company import (
    Company,
    add_location,
    add_member,
    add_product,
    adjust,
    found_company,
    receive,
    stock_line,
)

LIVING = "select sku from public.products where deleted_at is null order by sku"


@pytest.fixture
async def family(db: Connection, company: Company) -> list[uuid.UUID]:
    """SHIRT and its variants SHIRT-L and SHIRT-S."""
    parent = await add_product(db, company)
    return [parent, *[await add_variant(db, company, parent, f"SHIRT-{size}") for size in "LS"]]


async def test_a_product_goes_with_its_variants_and_comes_back_with_them_and_its_pictures(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    await db.execute(
        "insert into public.product_images (tenant_id, product_id, source_url) values (%s, %s, 'https://e.x')",
        (company.tenant_id, family[0]),
    )
    await product_command(db, company, "delete", family[1])
    await product_command(db, company, "delete", family[0], 1)
    assert await column(db, LIVING) == []
    await product_command(db, company, "restore", family[0], 2)
    assert await column(db, LIVING) == ["SHIRT", "SHIRT-S"], "what was deleted on its own stays so"
    assert await value(db, "select count(*) from public.product_images") == 1
    await product_command(db, company, "restore", family[1])
    assert await column(db, LIVING) == ["SHIRT", "SHIRT-L", "SHIRT-S"]


async def test_its_events_are_deleted_and_restored(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    await rpc(db, "dispatch_outbox")
    await product_command(db, company, "delete", family[0])
    await product_command(db, company, "restore", family[0])
    await rpc(db, "dispatch_outbox")
    types = await column(db, "select type from public.events where seq > 5 order by seq")
    assert types == ["product.deleted"] * 3 + ["product.restored"] * 3


async def test_twice_is_once(db: Connection, company: Company, family: list[uuid.UUID]) -> None:
    for name in ("delete", "restore"):
        await product_command(db, company, name, family[0])
        version = await value(db, "select version from public.products where id = %s", family[0])
        await product_command(db, company, name, family[0])
        assert await value(db, "select version from public.products where id = %s", family[0]) == version


async def test_what_holds_it_is_listed(db: Connection, company: Company, family: list[uuid.UUID]) -> None:
    place = await add_location(db, company)
    for product in family[:2]:
        await receive(db, company, [stock_line(product, place, 5)])
    with pytest.raises(psycopg.Error, match=r"product\.held") as refused:
        await product_command(db, company, "delete", family[0])
    assert refused.value.sqlstate == "PT409"
    held: list[dict[str, Any]] = details(refused.value)
    assert {(one["holder"], one["product_id"], one["on_hand"], one["reserved"]) for one in held} == {
        ("stock", str(product), 5, 0) for product in family[:2]
    }
    assert {one["location_id"] for one in held} == {str(place)}
    assert len(await column(db, LIVING)) == 3
    for product in family[:2]:
        await adjust(db, company, [stock_line(product, place, -5)])
    await product_command(db, company, "delete", family[0])
    assert await column(db, LIVING) == []


async def test_by_hand_it_meets_the_same_rules(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    mark = "update public.products set deleted_at = now() where id = %s"
    with pytest.raises(psycopg.Error, match=r"product\.held") as refused:
        async with acting_as(db, company.owner):
            await db.execute(mark, (family[0],))
    assert [(one["holder"], one["sku"]) for one in details(refused.value)] == [
        ("variant", "SHIRT-L"),
        ("variant", "SHIRT-S"),
    ]


async def test_a_capability_adds_its_own_holder(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    await db.execute(
        "create function private.wishes_holding(p_tenant_id uuid, p_product_ids uuid[]) returns setof jsonb"
        " language sql set search_path = '' as $$"
        " select jsonb_build_object('holder', 'wish', 'product_id', p_product_ids[1]) $$"
    )
    await db.execute("insert into private.product_holders values ('wish', 'private.wishes_holding')")
    with pytest.raises(psycopg.Error, match=r"product\.held") as refused:
        await product_command(db, company, "delete", family[0])
    assert details(refused.value) == [{"holder": "wish", "product_id": str(family[0])}]


async def test_a_deletion_waits_for_goods_that_are_coming_in(
    db: Connection, other: Connection, third: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    place = await add_location(db, company)
    await receive(db, company, [stock_line(family[0], place, 1)])
    await adjust(db, company, [stock_line(family[0], place, -1)])
    async with open_transaction(other):
        await other.execute("update public.stock_levels set on_hand = 3")
        deletion = asyncio.create_task(product_command(db, company, "delete", family[0]))
        await waits_for_a_lock(third, db)
        await other.commit()
        with pytest.raises(psycopg.Error, match=r"product\.held"):
            await deletion


async def test_the_row_itself_goes_only_where_nothing_refers_to_it(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    remove = "delete from public.products where id = %s"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with acting_as(db, company.owner):
            await db.execute(remove, (family[0],))
    async with acting_as(db, company.owner):
        assert (await db.execute(remove, (family[1],))).rowcount == 1


async def test_a_taken_sku_keeps_a_product_from_coming_back(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    await product_command(db, company, "delete", family[0])
    await add_product(db, company, "SHIRT-L")
    with pytest.raises(psycopg.Error, match=r"product\.sku_taken") as refused:
        await product_command(db, company, "restore", family[0])
    assert "SHIRT-L" in str(refused.value.diag.message_detail)
    assert await column(db, LIVING) == ["SHIRT-L"]


async def test_a_variant_does_not_come_back_without_its_parent(
    db: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    await product_command(db, company, "delete", family[0])
    with pytest.raises(psycopg.Error, match=r"product\.parent_missing"):
        await product_command(db, company, "restore", family[1])


async def test_an_active_product_comes_back_active_only_if_it_still_may(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    await db.execute("update public.products set price = 5, status = 'active'")
    await product_command(db, company, "delete", product)
    await db.execute("update public.products set price = 0")
    assert await value(db, "select status from public.products") == "active"
    await product_command(db, company, "restore", product)
    assert await value(db, "select status from public.products") == "draft"


async def test_who_may_not_is_refused(db: Connection, company: Company, family: list[uuid.UUID]) -> None:
    rival = await found_company(db, "rival")
    for name in ("delete", "restore"):
        for role in ("clerk", "viewer", "integration"):
            person = await add_member(db, company, role)
            with pytest.raises(psycopg.Error, match=r"access\.denied"):
                await product_command(db, company, name, family[0], who=person)
        with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
            await product_command(db, company, name, family[0], who=rival.owner)
        with pytest.raises(psycopg.Error, match=r"product\.not_found"):
            await product_command(db, rival, name, family[0])
        with pytest.raises(psycopg.Error, match=r"version\.stale"):
            await product_command(db, company, name, family[0], 7)
    assert len(await column(db, LIVING)) == 3


async def test_twins_delete_once(
    db: Connection, other: Connection, third: Connection, company: Company, family: list[uuid.UUID]
) -> None:
    async with open_transaction(other):
        await other.execute("update public.products set name = 'Later' where id = %s", (family[0],))
        async with in_background(product_command(db, company, "delete", family[0])):
            await waits_for_a_lock(third, db)
            await other.commit()
    assert await rows(db, "select version from public.products where id = %s", family[0]) == [(3,)]
    assert isinstance(await value(db, "select max(deleted_at) from public.products"), dt.datetime)
