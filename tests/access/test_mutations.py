"""The matrix is worth something: whichever policy or guard is broken, it says so. The score must be 100 %."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.access.catalogue import Table, list_functions, list_tables
from tests.access.matrix import command_slice, moving_slice, outsider_slice, table_slice
from tests.access.mutations import (
    Layer,
    Policy,
    list_policies,
    mutations_of_function,
    mutations_of_table,
    stand_alone,
)
from tests.access.permissions import read_permissions
from tests.access.scene import Scene, Session
from tests.access.test_matrix import scene, session
from tests.check.privileges import broken_rules

__all__ = ["scene", "session"]

PERMISSIONS = read_permissions()
LAYERS: tuple[Layer, ...] = ("whole", "reading alone", "writing alone", "guard alone", "privileges")

# One slip in a function that every policy, or every command, asks.
ASKED: dict[str, tuple[LiteralString, LiteralString]] = {
    "private.tenants_with: of anybody": ("private.tenants_with(text)", " where m.principal_id = auth.uid()"),
    "private.tenants_with: any permission": (
        "private.tenants_with(text)",
        " and rp.permission = p_permission",
    ),
}


@contextlib.contextmanager
def undone(db: Session, *statements: str) -> Iterator[None]:
    """The statements hold for the block."""
    with db.transaction(force_rollback=True):
        for statement in filter(None, statements):
            db.execute(statement.encode())
        yield


def slips(db: Session, scene: Scene, table: Table, layer: Layer) -> Iterator[str]:
    """What the slice of this layer finds wrong."""
    if layer == "privileges":
        yield from broken_rules(db)
    elif layer == "writing alone":
        yield from table_slice(db, scene, PERMISSIONS, table, ("insert", "update", "delete"))
    elif layer == "guard alone":
        yield from outsider_slice(db, scene, table)
    else:
        yield from table_slice(db, scene, PERMISSIONS, table)
    if layer in ("writing alone", "guard alone"):
        yield from moving_slice(db, scene, table)


def guarded_tables(db: Session) -> list[tuple[Table, list[Policy]]]:
    tables = [(table, list_policies(db, table)) for table in list_tables(db) if not table.is_view]
    return [(table, policies) for table, policies in tables if policies]


def score(what: str, caught: Iterable[tuple[str, bool]]) -> None:
    results = dict(caught)
    survivors = [name for name, was_caught in results.items() if not was_caught]
    print(f"{what}: {len(results) - len(survivors)} of {len(results)} mutations caught")
    assert results
    assert survivors == []


def test_each_layer_stands_alone(session: Session, scene: Scene) -> None:
    for table, policies in guarded_tables(session):
        for layer in LAYERS:
            with undone(session, stand_alone(table, policies, layer)):
                assert list(slips(session, scene, table, layer)) == [], (table.name, layer)


@pytest.mark.timeout(300)
def test_every_broken_policy_is_caught(session: Session, scene: Scene) -> None:
    caught = {}
    for table, policies in guarded_tables(session):
        for mutation in mutations_of_table(table, policies, PERMISSIONS):
            setting = stand_alone(table, policies, mutation.layer)
            with undone(session, setting, mutation.statement):
                found = next(slips(session, scene, table, mutation.layer), None)
            caught[f"{table.name}: {mutation.name}"] = found is not None
    score("policies", caught.items())


def test_every_command_depends_on_its_guard(session: Session, scene: Scene) -> None:
    functions = [each for each in list_functions(session) if each.name in PERMISSIONS.commands]
    no_guard = (
        "create or replace function private.require(p_tenant_id uuid, p_permission text) returns void"
        " language sql stable security definer set search_path = '' as 'select'"
    )
    caught = {}
    for function in functions:
        with undone(session, no_guard):
            found = next(command_slice(session, scene, PERMISSIONS, [function]), None)
        caught[function.name] = found is not None
    score("command guards", caught.items())


def test_every_function_granted_to_anon_is_caught(session: Session) -> None:
    caught = {}
    for function in list_functions(session):
        mutation = mutations_of_function(function)
        with undone(session, mutation.statement):
            caught[mutation.name] = bool(broken_rules(session))
    score("grants", caught.items())


def test_a_broken_question_is_caught(session: Session, scene: Scene) -> None:
    products = next(table for table in list_tables(session) if table.name == "products")
    caught = {}
    for name, (signature, clause) in ASKED.items():
        row = session.execute("select pg_get_functiondef(%s::regprocedure)", (signature,)).fetchone()
        assert row
        assert clause.strip() in row[0], name
        broken = row[0].replace(clause.strip(), "where true" if "where" in clause else "")
        layer: Layer = "reading alone"
        setting = stand_alone(products, list_policies(session, products), layer)
        with undone(session, setting, broken):
            caught[name] = next(slips(session, scene, products, layer), None) is not None
    score("questions", caught.items())


def test_the_slices_need_a_working_database(session: Session, scene: Scene) -> None:
    """A probe that cannot work fails the test: it cannot pass for a refusal."""
    products = next(table for table in list_tables(session) if table.name == "products")
    with (
        undone(session, "alter table public.products rename column tenant_id to gone"),
        pytest.raises(psycopg.errors.UndefinedColumn),
    ):
        list(table_slice(session, scene, PERMISSIONS, products))
