"""The fixtures that every other test stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx

from tests.databases import Connection, Database, acting_as, add_user
from tests.people import People, Tenant, User


async def test_a_clone_is_migrated_and_nobodys_but_ones_own(db: Connection, database: Database) -> None:
    owner = await add_user(db)
    async with acting_as(db, owner):
        await db.execute("select public.create_tenant('one', 'One')")
    counted = await (await db.execute("select count(*) from public.tenants")).fetchone()
    assert counted == (1,)
    again = await database.connect("supabase_admin")
    named = await (await again.execute("select current_database(), current_user")).fetchone()
    assert named == (database.name, "supabase_admin")


async def test_acting_as_is_what_postgrest_does(db: Connection) -> None:
    principal = await add_user(db)
    async with acting_as(db, principal, email="a@example.com"):
        row = await (
            await db.execute("select current_user, auth.uid(), auth.role(), auth.email()")
        ).fetchone()
    assert row == ("authenticated", principal, "authenticated", "a@example.com")
    after = await (await db.execute("select current_user, auth.uid()")).fetchone()
    assert after == ("postgres", None)


async def test_a_tenant_belongs_to_its_owner_alone(
    tenant: Tenant, make_user: Callable[..., Awaitable[User]], rest: Callable[..., httpx.AsyncClient]
) -> None:
    stranger = await make_user()
    mine = await rest(tenant.owner).get("/tenants", params={"id": f"eq.{tenant.id}", "select": "slug"})
    assert mine.json() == [{"slug": tenant.slug}]
    theirs = await rest(stranger).get("/tenants", params={"id": f"eq.{tenant.id}"})
    assert theirs.json() == []


async def test_the_worker_schema_is_for_the_secret_key_only(
    people: People, worker_rpc: httpx.AsyncClient, user: User
) -> None:
    allowed = await worker_rpc.post("/rpc/worker_status", json={})
    assert allowed.status_code == 200, allowed.text
    for refused in (people.rest(schema="worker"), people.rest(user, schema="worker")):
        answer = await refused.post("/rpc/worker_status", json={})
        assert answer.status_code in (401, 403), answer.text
        assert answer.json()["code"] == "42501"
