"""Tenancy: who sees and changes what, by role, and nobody anything of another tenant."""

from __future__ import annotations

import uuid
from typing import LiteralString

import psycopg
import pytest

from tests.databases import Connection, acting_as, add_user
from tests.sql.ask import column, rows, rpc, value
from tests.sql.company import (
    Company,
    add_endpoint,
    add_location,
    add_member,
    add_product,
    found_company,
    receive,
    stock_line,
)

ROLES = ("owner", "manager", "clerk", "viewer", "integration")
EVERYBODY = set(ROLES)
MANAGERS = {"owner", "manager"}

READS: dict[LiteralString, set[str]] = {
    "tenants": EVERYBODY,
    "memberships": EVERYBODY,
    "products": EVERYBODY,
    "product_images": EVERYBODY,
    "locations": EVERYBODY,
    "stock_levels": EVERYBODY,
    "stock_movements": EVERYBODY,
    "webhook_endpoints": MANAGERS,
    "webhook_attempts": MANAGERS,
    "webhook_deliveries": MANAGERS,
}

WRITES: dict[LiteralString, set[str]] = {
    "update public.tenants set name = 'New'": {"owner"},
    "insert into public.products (tenant_id, sku, name) select id, 'NEW', 'New' from public.tenants": (
        MANAGERS | {"integration"}
    ),
    "update public.products set name = 'New'": MANAGERS | {"integration"},
    "delete from public.products where sku = 'SPARE'": MANAGERS,
    "insert into public.product_images (tenant_id, product_id, source_url)"
    " select tenant_id, id, 'https://example.com/b.png' from public.products where sku = 'SHIRT'": (
        MANAGERS | {"integration"}
    ),
    "update public.product_images set position = 2": MANAGERS | {"integration"},
    "delete from public.product_images": MANAGERS | {"integration"},
    "insert into public.locations (tenant_id, code, name) select id, 'N', 'N' from public.tenants": MANAGERS,
    "update public.locations set name = 'New'": MANAGERS,
    "delete from public.locations where code = 'SPARE'": MANAGERS,
    "update public.stock_levels set safety = 1": MANAGERS | {"clerk", "integration"},
    "update public.webhook_endpoints set status = 'paused'": MANAGERS,
    "delete from public.webhook_endpoints": MANAGERS,
}

NEVER: list[LiteralString] = [
    "insert into public.tenants (slug, name) values ('mine', 'Mine')",
    "delete from public.tenants",
    "update public.memberships set role = 'owner'",
    "insert into public.memberships (tenant_id, principal_id, role) select id, id, 'owner' from tenants",
    "update public.product_images set status = 'ready'",
    "update public.stock_levels set on_hand = 1000",
    "delete from public.stock_levels",
    "update public.stock_movements set quantity = 1",
    "insert into public.webhook_endpoints (tenant_id, url) select id, 'https://a.example' from tenants",
    "update public.webhook_endpoints set disabled_reason = 'none'",
    "select * from public.events",
    "select * from private.outbox",
    "select * from private.secrets",
    "select * from queue.jobs",
    "select * from queue.leases",
    "select lease_id from queue.lanes",
]  # fmt: skip


@pytest.fixture
async def furnished(db: Connection, company: Company) -> Company:
    """The company with at least one row in every table that its members may see."""
    product, place = await add_product(db, company), await add_location(db, company)
    await add_product(db, company, "SPARE")
    await add_location(db, company, "SPARE")
    await db.execute(
        "insert into public.product_images (tenant_id, product_id, source_url)"
        " values (%s, %s, 'https://example.com/a.png')",
        (company.tenant_id, product),
    )
    await receive(db, company, [stock_line(product, place, 5)])
    endpoint = await add_endpoint(db, company)
    await rpc(db, "dispatch_outbox")
    await db.execute(
        "insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id,"
        " event_id, event_type, outcome, started_at, settled_at)"
        " values (private.today(), 999999, 1, %s, %s, 'evt_1', 'product.created', 'delivered', now(), now())",
        (company.tenant_id, endpoint["id"]),
    )
    return company


async def test_roles_read_what_they_may(db: Connection, furnished: Company) -> None:
    stranger = (await found_company(db, "rival")).owner
    people = {role: await add_member(db, furnished, role) for role in ROLES}
    for table, allowed in READS.items():
        query: LiteralString = "select count(*) from public." + table
        mine: LiteralString = query + (" where id = %s" if table == "tenants" else " where tenant_id = %s")
        readers = set()
        for role, person in people.items():
            async with acting_as(db, person):
                if await value(db, mine, furnished.tenant_id):
                    readers.add(role)
        assert readers == allowed, table
        async with acting_as(db, stranger):
            assert await value(db, mine, furnished.tenant_id) == 0, table


async def test_roles_change_what_they_may(db: Connection, furnished: Company) -> None:
    people = {role: await add_member(db, furnished, role) for role in ROLES}
    for change, allowed in WRITES.items():
        writers = {role for role, person in people.items() if await _changes(db, person, change)}
        assert writers == allowed, change


async def test_some_things_nobody_does_by_hand(db: Connection, furnished: Company) -> None:
    for statement in NEVER:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, furnished.owner):
                await db.execute(statement)


async def test_nobody_signed_in_reaches_nothing(db: Connection, furnished: Company) -> None:
    for table in READS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, role="anon"):
                await db.execute("select 1 from public." + table)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, role="anon"):
            await db.execute("select public.create_tenant('x', 'X')")


async def test_a_clerk_sees_only_their_own_membership(db: Connection, company: Company) -> None:
    clerk = await add_member(db, company, "clerk")
    async with acting_as(db, clerk):
        assert await column(db, "select principal_id from public.memberships") == [clerk]
    async with acting_as(db, company.owner):
        assert await value(db, "select count(*) from public.memberships") == 2


async def test_strangers_change_nothing(db: Connection, furnished: Company) -> None:
    stranger = await add_user(db)
    for change in WRITES:
        assert not await _changes(db, stranger, change), change


async def test_rows_cannot_be_smuggled_into_another_tenant(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    product = await add_product(db, company)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, company.owner):
            await add_product(db, rival, "SMUGGLED")
    with pytest.raises(psycopg.Error, match=r"row\.tenant_changed"):
        async with acting_as(db, company.owner):
            await db.execute("update public.products set tenant_id = %s", (rival.tenant_id,))
    # Somebody who belongs to both may not either.
    await db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, 'owner')",
        (rival.tenant_id, company.owner),
    )
    with pytest.raises(psycopg.Error, match=r"row\.tenant_changed"):
        async with acting_as(db, company.owner):
            await db.execute(
                "update public.products set tenant_id = %s where id = %s", (rival.tenant_id, product)
            )
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with acting_as(db, company.owner):
            await db.execute(
                "insert into public.products (tenant_id, parent_id, sku, name) values (%s, %s, 'C', 'C')",
                (rival.tenant_id, product),
            )


async def test_a_change_of_role_counts_at_once(db: Connection, other: Connection, company: Company) -> None:
    person = await add_member(db, company, "viewer")
    await add_product(db, company)
    rename: LiteralString = "update public.products set name = name || '!'"
    async with acting_as(other, person):
        assert (await other.execute(rename)).rowcount == 0
        await db.execute("update public.memberships set role = 'manager' where principal_id = %s", (person,))
        assert (await other.execute(rename)).rowcount == 1, "within the transaction that was open"
        await db.execute("delete from public.memberships where principal_id = %s", (person,))
        assert (await other.execute(rename)).rowcount == 0
        assert await rows(other, "select from public.products") == []


# -- create_tenant -------------------------------------------------------------------------------------------


async def test_a_slug_is_taken_once(db: Connection, company: Company) -> None:
    with pytest.raises(psycopg.Error, match=r"tenant\.slug_taken") as refused:
        await found_company(db, "acme")
    assert refused.value.sqlstate == "PT409"


async def test_a_tenant_needs_somebody_to_own_it(db: Connection) -> None:
    with pytest.raises(psycopg.Error, match=r"auth\.required") as refused:
        async with acting_as(db):
            await db.execute("select public.create_tenant('acme', 'Acme')")
    assert refused.value.sqlstate == "PT401"


async def test_a_tenant_is_checked(db: Connection) -> None:
    owner = await add_user(db)
    for slug, name, currency, constraint in (
        ("Acme", "Acme", "USD", "tenants_slug_form"),
        ("-acme", "Acme", "USD", "tenants_slug_form"),
        ("a" * 64, "Acme", "USD", "tenants_slug_form"),
        ("acme", "", "USD", "tenants_name_length"),
        ("acme", "A\x07cme", "USD", "tenants_name_clean"),
        ("acme", "Acme", "usd", "tenants_currency_(form|known)"),
        ("acme", "Acme", "XXX", "tenants_currency_known"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
            async with acting_as(db, owner):
                await db.execute("select public.create_tenant(%s, %s, %s)", (slug, name, currency))


async def _changes(db: Connection, person: uuid.UUID, change: LiteralString) -> bool:
    """Whether the statement would change anything as this person; it is rolled back."""
    try:
        async with db.transaction(force_rollback=True), acting_as(db, person):
            return (await db.execute(change)).rowcount > 0
    except psycopg.errors.InsufficientPrivilege:
        return False


async def test_who_may_not_delete_a_product_may_not_mark_it_deleted(
    db: Connection, furnished: Company
) -> None:
    change: LiteralString = "update public.products set deleted_at = "
    partner = await add_member(db, furnished, "integration")
    manager = await add_member(db, furnished, "manager")
    for moment in ("now()", "null"):
        with_moment = (change + moment + " where sku = 'SPARE'").encode()
        with pytest.raises(psycopg.Error, match=r"access\.denied"):
            async with acting_as(db, partner):
                await db.execute((change + "'epoch'").encode())
        async with acting_as(db, manager):
            assert (await db.execute(with_moment)).rowcount > 0
