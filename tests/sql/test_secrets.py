"""Secrets: one contract, held by both homes."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import rpc, value
from tests.sql.company import Company, add_endpoint

PUT = "select private.put_secret(%s, %s)"
READ = "select private.read_secret(%s)"
HIDE_VAULT = "alter function vault.create_secret(text, text, text, uuid) rename to hidden"
SHOW_VAULT = "alter function vault.hidden(text, text, text, uuid) rename to create_secret"


@pytest.fixture(params=["vault", "table"])
async def home(request: pytest.FixtureRequest, database: Database, db: Connection) -> str:
    kept_in: str = request.param
    if kept_in == "table":
        await (await database.connect("supabase_admin")).execute(HIDE_VAULT)
    return kept_in


async def test_a_secret_is_put_read_and_dropped(db: Connection, home: str) -> None:
    assert await value(db, "select private.secrets_home()") == home
    text = "whsec_ü\n'\"\\$1"
    secret = await value(db, PUT, "one", text)
    other = await value(db, PUT, "two", "other")
    assert await value(db, READ, secret) == text
    await db.execute("select private.drop_secret(%s)", (secret,))
    assert await value(db, READ, secret) is None
    assert await value(db, READ, other) == "other"
    await db.execute("select private.drop_secret(%s)", (secret,))


async def test_it_is_kept_where_the_home_says(db: Connection, home: str) -> None:
    await value(db, PUT, "one", "plain text")
    kept = {
        "vault": await value(db, "select count(*) from vault.secrets"),
        "table": await value(db, "select count(*) from private.secrets"),
    }
    assert kept == {"vault": 0, "table": 0} | {home: 1}
    assert await value(db, "select count(*) from vault.secrets where secret like '%%plain text%%'") == 0


async def test_a_name_is_used_once(db: Connection, home: str) -> None:
    await value(db, PUT, "one", "a")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await value(db, PUT, "one", "b")


async def test_reading_what_was_never_put_gives_nothing(db: Connection, home: str) -> None:
    assert await value(db, READ, uuid.uuid4()) is None


async def test_an_endpoint_signs_and_forgets_with_its_secret(
    db: Connection, company: Company, home: str
) -> None:
    endpoint = await add_endpoint(db, company)
    lease = await rpc(db, "lease_lanes", p_worker="w")
    named = {"p_token": lease["token"], "p_lane_ids": [lane_id for lane_id, _ in lease["lanes"]]}
    (lane,) = await rpc(db, "describe_lanes", **named)
    assert lane["secrets"] == [{"secret": endpoint["secret"], "expires_at": None}]
    secret = await value(db, "select secret_id from private.webhook_secrets")
    async with acting_as(db, company.owner):
        await db.execute("delete from public.webhook_endpoints")
    assert await value(db, READ, secret) is None


async def test_no_client_reaches_a_secret(db: Connection, company: Company, home: str) -> None:
    secret = await value(db, PUT, "one", "a")
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner, role=role):
                await value(db, READ, secret)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner, role=role):
                await value(db, "select value from private.secrets")


async def test_what_the_table_keeps_stays_readable_when_vault_appears(
    database: Database, db: Connection
) -> None:
    admin = await database.connect("supabase_admin")
    await admin.execute(HIDE_VAULT)
    old = await value(db, PUT, "old", "from the table")
    await admin.execute(SHOW_VAULT)
    new = await value(db, PUT, "new", "from vault")
    assert await value(db, "select private.secrets_home()") == "vault"
    assert [await value(db, READ, one) for one in (old, new)] == ["from the table", "from vault"]
    for one in (old, new):
        await db.execute("select private.drop_secret(%s)", (one,))
        assert await value(db, READ, one) is None
