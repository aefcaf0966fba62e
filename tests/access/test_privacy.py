"""Export, deletion, redaction and the audit of a tenant."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest

from tests.access.test_members import refused
from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rows, rpc, value
from tests.sql.company import (
    Company,
    add_endpoint,
    add_location,
    add_member,
    add_product,
    add_products,
    found_company,
    receive,
    rename,
    stock_line,
)

EMAIL = "Jane.Doe@example.com"
OWNED = """
select format('%%s.%%s', n.nspname, c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('public', 'private', 'queue') and c.relkind = 'r'
  and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')
"""


async def as_owner(db: Connection, company: Company, name: str, **arguments: object) -> Any:
    async with acting_as(db, company.owner):
        return await call(db, "public", name, p_tenant_id=company.tenant_id, **arguments)


async def trade(db: Connection, company: Company) -> uuid.UUID:
    """A company with stock, an endpoint and an order of Jane's; the order's id."""
    product, place = await add_product(db, company), await add_location(db, company)
    await db.execute("update public.products set price = 10, status = 'active' where id = %s", (product,))
    await receive(db, company, [stock_line(product, place, 9)])
    await add_endpoint(db, company)
    order = await as_owner(
        db, company, "place_order",
        p_lines=[{"product_id": str(product), "quantity": 1}],
        p_customer={"name": "Jane Doe", "email": EMAIL}, p_key="one",
    )  # fmt: skip
    return uuid.UUID(order["id"])


async def of_table(db: Connection, query: str, tenant: uuid.UUID) -> Any:
    """The one value of a query whose table's name comes from the catalogue."""
    row = await (await db.execute(query.encode(), (tenant,))).fetchone()
    return row and row[0]


async def everything_of(db: Connection, tenant: uuid.UUID) -> str:
    """All rows of a tenant in all tables, as one text."""
    texts = []
    for table in await column(db, OWNED):
        query = f"select coalesce(string_agg(t::text, ' '), '') from {table} t where tenant_id = %s"
        texts.append(await of_table(db, query, tenant))
    return " ".join(texts)


# -- export --------------------------------------------------------------------------------------------------


async def test_an_export_holds_every_row_page_by_page(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    await add_products(db, rival, 3)
    await add_products(db, company, 7)
    await trade(db, company)
    await rpc(db, "dispatch_outbox")
    manifest = await as_owner(db, company, "export_tenant")
    assert {"tenants", "products", "orders", "events", "stock_movements"} <= set(manifest["tables"])
    assert manifest["seq"] > 0
    for table in manifest["tables"]:
        exported: list[Any] = []
        after = None
        while True:
            page = await as_owner(
                db, company, "export_tenant",
                p_table=table, p_after=json.dumps(after) if after else None, p_limit=3,
            )  # fmt: skip
            exported += page["rows"]
            if (after := page["next"]) is None:
                break
        tenant_column = "id" if table == "tenants" else "tenant_id"
        query = f"select count(*) from public.{table} where {tenant_column} = %s"
        assert len(exported) == await of_table(db, query, company.tenant_id), table
        assert {row[tenant_column] for row in exported} <= {str(company.tenant_id)}


async def test_an_export_is_for_owners_and_of_tables_that_exist(db: Connection, company: Company) -> None:
    manager = await add_member(db, company, "manager")
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        async with acting_as(db, manager):
            await call(db, "public", "export_tenant", p_tenant_id=company.tenant_id)
    for table in ("nowhere", "webhook_deliveries", 'products"; drop table public.products; --'):
        await refused(as_owner(db, company, "export_tenant", p_table=table), "export.table_unknown", "PT404")


# -- deletion ------------------------------------------------------------------------------------------------


async def test_a_deleted_tenant_leaves_nothing_but_a_tombstone(db: Connection, company: Company) -> None:
    await trade(db, company)
    rival = await found_company(db, "rival")
    await trade(db, rival)
    await rpc(db, "dispatch_outbox")
    kept = await value(db, "select count(*) from public.events where tenant_id = %s", rival.tenant_id)
    assert (await as_owner(db, company, "delete_tenant", p_confirm_slug="acme"))["status"] == "erasing"

    async with acting_as(db, company.owner):
        assert await rows(db, "select from public.products") == []
    await found_company(db, "acme")  # the slug is free
    assert await value(db, "select count(*) from queue.jobs where kind = 'upkeep.erase_tenants'") == 1

    slices = 0
    while (erased := await rpc(db, "erase_tenants", p_limit=5))["left"]:
        slices += 1
    assert erased["done"]
    assert slices > 3
    for table in await column(db, OWNED):
        query = f"select count(*) from {table} where tenant_id = %s"
        assert await of_table(db, query, company.tenant_id) == 0, table
    assert await value(db, "select count(*) from public.tenants where id = %s", company.tenant_id) == 0
    [(stone, done)] = await rows(db, "select id, erased_at is not null from private.tombstones")
    assert (stone, done) == (company.tenant_id, True)

    await rpc(db, "dispatch_outbox")
    for tenant, count in ((company.tenant_id, 0), (rival.tenant_id, kept)):
        assert await value(db, "select count(*) from public.events where tenant_id = %s", tenant) == count
    assert (await rpc(db, "erase_tenants"))["tenant_id"] is None


async def test_trees_are_erased_from_their_leaves(db: Connection, company: Company) -> None:
    parent = None
    for depth in range(4):
        parent = await value(
            db,
            "insert into public.categories (tenant_id, parent_id, name, slug)"
            " values (%s, %s, 'C', %s) returning id",
            company.tenant_id, parent, f"c{depth}",
        )  # fmt: skip
    await as_owner(db, company, "delete_tenant", p_confirm_slug="acme")
    while (await rpc(db, "erase_tenants", p_limit=2))["left"]:
        pass
    assert await value(db, "select count(*) from public.categories") == 0


async def test_deletion_needs_an_owner_and_the_slug(db: Connection, company: Company) -> None:
    manager = await add_member(db, company, "manager")
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        async with acting_as(db, manager):
            await call(db, "public", "delete_tenant", p_tenant_id=company.tenant_id, p_confirm_slug="acme")
    for wrong in ("Acme", "", None):
        deletion = as_owner(db, company, "delete_tenant", p_confirm_slug=wrong)
        await refused(deletion, "tenant.not_confirmed", "PT422")
    assert await value(db, "select count(*) from private.tombstones") == 0


async def test_a_ledger_of_the_living_stays_append_only(db: Connection, company: Company) -> None:
    await trade(db, company)
    await as_owner(db, await found_company(db, "gone"), "delete_tenant", p_confirm_slug="gone")
    await rpc(db, "erase_tenants")
    with pytest.raises(psycopg.Error, match=r"ledger\.append_only"):
        await db.execute("delete from public.stock_movements where tenant_id = %s", (company.tenant_id,))


# -- redaction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatched", [True, False])
@pytest.mark.parametrize("by_email", [True, False])
async def test_a_redacted_customer_is_nowhere(
    db: Connection, company: Company, dispatched: bool, by_email: bool
) -> None:
    order = await trade(db, company)
    if dispatched:
        await rpc(db, "dispatch_outbox")
    assert "Jane" in await everything_of(db, company.tenant_id)
    chosen = {"p_email": EMAIL.lower()} if by_email else {"p_order_ids": [order]}
    answer = await as_owner(db, company, "redact_customer", **chosen)
    assert answer == {"orders": 1, "events": int(dispatched)}
    assert "Jane" not in await everything_of(db, company.tenant_id)

    await rpc(db, "dispatch_outbox")
    assert "Jane" not in await everything_of(db, company.tenant_id)
    seqs = await column(
        db, "select seq from public.events where tenant_id = %s order by seq", company.tenant_id
    )
    assert seqs == list(range(1, len(seqs) + 1)), "still gapless"
    if dispatched:
        body = json.loads(await value(db, "select body from public.events where type = 'order.created'"))
        assert body["redacted"] is True
        assert body["data"]["object"]["customer"] == {"redacted": True}


async def test_redaction_spares_everybody_else(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    await trade(db, company)
    order = await trade(db, rival)
    answer = await as_owner(db, company, "redact_customer", p_order_ids=[order])
    assert answer == {"orders": 0, "events": 0}
    await as_owner(db, company, "redact_customer", p_email=EMAIL)
    assert "Jane" in await everything_of(db, rival.tenant_id)
    clerk = await add_member(db, company, "clerk")
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        async with acting_as(db, clerk):
            await call(db, "public", "redact_customer", p_tenant_id=company.tenant_id, p_email=EMAIL)
    await refused(as_owner(db, company, "redact_customer"), "redaction.selection_invalid", "PT400")


# -- audit ---------------------------------------------------------------------------------------------------


async def test_the_audit_says_who_changed_what_by_which_command(db: Connection, company: Company) -> None:
    manager, clerk = await add_member(db, company, "manager"), await add_member(db, company, "clerk")
    product, place = await add_product(db, company, name="Boot"), await add_location(db, company)
    async with acting_as(db, manager):
        await rename(db, product, "Boots")
    await receive(db, company, [stock_line(product, place, 5)], key="delivery-7", who=clerk)
    await rpc(db, "dispatch_outbox")

    query = "select seq, type, actor, command_id, changed, previous from public.audit_log(%s, p_entity => %s)"
    async with acting_as(db, manager):
        found = await rows(db, query, company.tenant_id, "product")
        actor, command = (await rows(db, query, company.tenant_id, "stock_level"))[0][2:4]
    assert (actor, command) == (clerk, "delivery-7")
    assert found[0][1:] == ("product.updated", manager, None, ["name"], {"name": "Boot"})
    assert [row[1] for row in found] == ["product.updated", "product.created"]

    page = "select seq from public.audit_log(%s, p_before => %s, p_limit => 2)"
    async with acting_as(db, company.owner):
        first = await column(db, page, company.tenant_id, None)
        second = await column(db, page, company.tenant_id, first[-1])
    assert len(first) == 2
    assert max(second) == first[-1] - 1
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        async with acting_as(db, clerk):
            await rows(db, query, company.tenant_id, "product")
