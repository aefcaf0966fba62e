"""What the platform gives to its roles, as a hosted project does: no more to `postgres`, no less to
`anon`."""

from __future__ import annotations

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as, add_user


async def _one(connection: Connection, query: str) -> object:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


async def test_the_migrating_role_is_no_superuser(db: Connection) -> None:
    row = await _one(
        db,
        """select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
           from pg_roles where rolname = current_user""",
    )
    assert row == (False, True, True, True, True)


async def test_a_new_function_is_executable_by_anon_unless_revoked_by_name(db: Connection) -> None:
    await db.execute("create function public.fresh() returns int language sql security definer as 'select 1'")
    async with acting_as(db, role="anon"):
        assert await _one(db, "select public.fresh()") == 1
    await db.execute("revoke all on function public.fresh() from public")
    async with acting_as(db, role="anon"):
        assert await _one(db, "select public.fresh()") == 1
    await db.execute("revoke all on function public.fresh() from anon")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, role="anon"):
            await db.execute("select public.fresh()")


async def test_a_new_table_and_its_sequence_are_open_to_anon(db: Connection) -> None:
    await db.execute("create table public.fresh (id bigserial primary key)")
    async with acting_as(db, role="anon"):
        assert await _one(db, "insert into public.fresh default values returning id") == 1
    await db.execute("alter table public.fresh enable row level security")
    async with acting_as(db, role="anon"):
        assert await _one(db, "select count(*) from public.fresh") == 0


async def test_schemas_of_ones_own_are_closed(db: Connection) -> None:
    await db.execute("create schema own; create function own.f() returns int language sql as 'select 1'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, role="anon"):
            await db.execute("select own.f()")


@pytest.mark.parametrize(
    "statement",
    [
        "alter table realtime.messages add column mine text",
        "create index on realtime.messages (event)",
        "alter table auth.users add column mine text",
        "create table realtime.mine (id int)",
        "create table auth.mine (id int)",
        "drop function realtime.topic() cascade",
        "create or replace function realtime.topic() returns text language sql as 'select null'",
        "alter table realtime.messages disable row level security",
        "alter table storage.objects disable row level security",
        "alter table storage.objects add column mine text",
        "create index on storage.objects (version)",
        "create table storage.mine (id int)",
        "delete from storage.objects",
        "delete from storage.buckets",
    ],
)
async def test_postgres_may_not_change_what_is_the_platforms(db: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await db.execute(statement.encode())


async def test_postgres_may_add_policies_and_triggers_to_the_platforms_tables(db: Connection) -> None:
    await db.execute("create policy mine on realtime.messages for select to authenticated using (true)")
    await db.execute("drop policy mine on realtime.messages")
    await db.execute("create function public.t() returns trigger language plpgsql as 'begin return new; end'")
    await db.execute(
        "create trigger mine after insert on auth.users for each row execute function public.t()"
    )


async def test_postgres_may_make_buckets_and_policies_on_their_objects(db: Connection) -> None:
    await db.execute("insert into storage.buckets (id, name) values ('mine', 'mine')")
    await db.execute("create policy mine on storage.objects for select to anon using (bucket_id = 'mine')")
    await db.execute("create function public.t() returns trigger language plpgsql as 'begin return new; end'")
    await db.execute("create trigger mine after insert on storage.objects execute function public.t()")
    for role in ("anon", "authenticated"):
        async with acting_as(db, role=role):
            assert await _one(db, "select count(*) from storage.buckets") == 0


async def test_time_limits_are_the_hosted_ones(database: Database) -> None:
    authenticator = await database.connect("authenticator")
    assert await _one(authenticator, "show statement_timeout") == "8s"
    limits = await database.connect("supabase_admin")
    set_for = await (
        await limits.execute("select rolname, unnest(rolconfig) from pg_roles where rolname like 'a%'")
    ).fetchall()
    assert ("anon", "statement_timeout=3s") in set_for
    assert ("authenticated", "statement_timeout=8s") in set_for
    assert ("authenticator", "pgrst.db_schemas=public,graphql_public,worker") in set_for


async def test_the_publication_can_be_extended_by_the_migrating_role(db: Connection) -> None:
    await db.execute("create table public.fresh (id int primary key)")
    await db.execute("alter publication supabase_realtime add table public.fresh")


async def test_trusted_extensions_can_be_made(db: Connection) -> None:
    await db.execute("create extension if not exists pg_trgm with schema extensions")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await db.execute("create extension file_fdw with schema extensions")


async def test_people_cannot_read_auth(db: Connection) -> None:
    await add_user(db)
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, role=role):
                await db.execute("select * from auth.users")


async def test_the_vault_keeps_secrets_from_everyone_but_the_service(db: Connection) -> None:
    secret_id = await _one(db, "select vault.create_secret('open sesame', 'door', 'a door')")
    row = await _one(db, "select decrypted_secret, secret, name, description from vault.decrypted_secrets")
    assert isinstance(row, tuple)
    assert (row[0], row[2:]) == ("open sesame", ("door", "a door"))
    assert "sesame" not in row[1]
    await db.execute("select vault.update_secret(%s, 'changed')", (secret_id,))
    async with acting_as(db, role="service_role"):
        assert (
            await _one(db, "select decrypted_secret from vault.decrypted_secrets where name = 'door'")
            == "changed"
        )
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, role=role):
                await db.execute("select * from vault.decrypted_secrets")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await db.execute("select vault.create_secret('again', 'door')")
