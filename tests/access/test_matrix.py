"""Everybody, everything, everywhere: the database does what permissions.toml says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.access.catalogue import list_functions, list_tables
from tests.access.matrix import command_slice, table_slice
from tests.access.permissions import read_permissions
from tests.access.scene import Scene, Session, set_scene
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


def test_only_the_secret_key_calls_the_workers_functions(session: Session) -> None:
    callers = session.execute(
        "select array_agg(distinct r) from pg_proc p"
        " cross join unnest('{anon,authenticated,service_role}'::text[]) r"
        " where p.pronamespace = 'worker'::regnamespace and has_function_privilege(r, p.oid, 'execute')"
        " and has_schema_privilege(r, 'worker', 'usage')"
    ).fetchone()
    assert callers == (["service_role"],)
