"""Everybody, everything, everywhere: the database does what permissions.toml says, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from tests.access.catalogue import list_functions, list_shared, list_tables
from tests.access.matrix import command_slice, table_slice
from tests.access.permissions import ACTORS, read_permissions
from tests.access.scene import Scene, Session, acting, set_scene
from tests.databases import Database

PERMISSIONS = read_permissions()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with psycopg.connect(database.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def scene(session: Session) -> Scene:
    return set_scene(session)


def test_every_table_and_function_is_listed(session: Session) -> None:
    assert {table.name for table in list_tables(session)} == set(PERMISSIONS.tables)
    assert list_shared(session) == PERMISSIONS.shared
    listed = set(PERMISSIONS.commands) | PERMISSIONS.open
    assert {function.name for function in list_functions(session)} == listed


def test_tables(session: Session, scene: Scene) -> None:
    with session.transaction():
        differences = [
            line for table in list_tables(session) for line in table_slice(session, scene, PERMISSIONS, table)
        ]
    assert differences == []


def test_commands(session: Session, scene: Scene) -> None:
    functions = [each for each in list_functions(session) if each.name in PERMISSIONS.commands]
    with session.transaction():
        assert list(command_slice(session, scene, PERMISSIONS, functions)) == []


def test_what_is_open_runs_with_the_rights_of_its_caller(session: Session) -> None:
    functions = list_functions(session)
    assert not [each.signature for each in functions if each.is_definer]


def test_clients_are_granted_what_the_policies_need_and_no_more(session: Session) -> None:
    for table in list_tables(session):
        for action, allowed in PERMISSIONS.tables[table.name].items():
            for role, expected in (
                ("anon", False),
                ("authenticated", bool(allowed - {"service"})),
                ("service_role", "service" in allowed),
            ):
                check = "has_table_privilege" if action == "delete" else "has_any_column_privilege"
                query = f"select {check}(%s, %s::regclass, %s)"
                row = session.execute(query.encode(), (role, f"public.{table.name}", action)).fetchone()
                assert row == (expected,), f"{role} {action} {table.name}"


def test_what_belongs_to_no_tenant_is_read_by_the_signed_in_and_written_by_nobody(
    session: Session, scene: Scene
) -> None:
    statements = ("select from {}", "insert into {} default values", "delete from {}", "truncate {}")
    with session.transaction():
        for actor, table, statement in itertools.product(ACTORS, PERMISSIONS.shared, statements):
            query = statement.format(f"public.{table}")
            allowed = query.startswith("select") and actor != "anon"
            assert _is_let_through(session, scene, actor, query) is allowed, (actor, query)
    granted = session.execute(
        "select count(*) from information_schema.column_privileges where table_schema = 'public'"
        " and table_name = any (%s) and grantee = any ('{PUBLIC,anon,authenticated,service_role}')"
        " and privilege_type <> 'SELECT'",
        (list(PERMISSIONS.shared),),
    ).fetchone()
    assert granted == (0,)


def _is_let_through(session: Session, scene: Scene, actor: str, statement: str) -> bool:
    try:
        with acting(session, scene, actor):
            return session.execute(statement.encode()).rowcount > 0
    except psycopg.errors.InsufficientPrivilege:
        return False


def test_only_the_secret_key_calls_the_workers_functions(session: Session) -> None:
    callers = session.execute(
        "select array_agg(distinct r) from pg_proc p"
        " cross join unnest('{anon,authenticated,service_role}'::text[]) r"
        " where p.pronamespace = 'worker'::regnamespace and has_function_privilege(r, p.oid, 'execute')"
        " and has_schema_privilege(r, 'worker', 'usage')"
    ).fetchone()
    assert callers == (["service_role"],)
