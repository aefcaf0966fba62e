"""One try at one thing as one actor: allowed, denied, or an error that says neither.

A statement that gets past privileges and policies, and then fails on the data, was let through: allowed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from tests.access.catalogue import Function, Table, sample_row
from tests.access.scene import Scene, Session, acting

ALLOWED, DENIED = "allowed", "denied"
LET_THROUGH = {"23503", "23505", "23514", "PT409"}  # foreign key, unique, check, held or stale
REFUSED = {"42501", "PT401", "PT403", "55000"}  # privilege or policy, permission, a view that takes no writes
UNIQUE_TEXTS = ("sku", "code", "slug")


def try_table(db: Session, scene: Scene, actor: str, table: Table, action: str, tenant: uuid.UUID) -> str:
    """`action`: select, insert, update, delete, or move: to make rows of one's own another tenant's."""
    statement, values = _STATEMENTS[action](db, scene, actor, table, tenant)
    try:
        with acting(db, scene, actor):
            return ALLOWED if db.execute(statement, values).rowcount else DENIED
    except psycopg.Error as error:
        return _read(error)


def try_function(db: Session, scene: Scene, actor: str, function: Function, tenant: uuid.UUID) -> str:
    """A call with the tenant, and null for whatever else it needs: the guard must come first."""
    values = {name: tenant if name == "p_tenant_id" else None for name, _ in function.required}
    statement = sql.SQL("select {}({})").format(
        sql.Identifier("public", function.name),
        sql.SQL(", ").join(
            sql.SQL("{} => {}::{}").format(sql.Identifier(name), sql.Literal(values[name]), sql.SQL(kind))
            for name, kind in function.required
        ),
    )
    try:
        with acting(db, scene, actor):
            db.execute(statement)
    except psycopg.Error as error:
        outcome = _read(error)
        return outcome if outcome == DENIED else ALLOWED
    return ALLOWED


def _read(error: psycopg.Error) -> str:
    code, message = error.sqlstate or "", error.diag.message_primary or ""
    if code in REFUSED or message == "tenant.not_found":
        return DENIED
    return ALLOWED if code in LET_THROUGH else f"{code} {message}"


Statement = tuple[sql.Composed, dict[str, Any]]


def _select(db: Session, scene: Scene, actor: str, table: Table, tenant: uuid.UUID) -> Statement:
    query = "select 1 from public.{} where {} = %(tenant)s"
    if table.name == "memberships":
        query += " and principal_id is distinct from %(self)s"
    query += " limit 1"
    return _fill(query, table), {"tenant": tenant, "self": scene.people.get(actor)}


def _insert(db: Session, scene: Scene, actor: str, table: Table, tenant: uuid.UUID) -> Statement:
    columns = table.writable.get((scene.identity(actor)[0], "insert"), ()) or (table.tenant_column,)
    row = {}
    # `acting` has not begun: this reads as the owner of the tables
    if len(columns) > 1:
        row = sample_row(db, table, tenant)
        row |= {"id": str(uuid.uuid4()), "version": 1}
        row |= {name: uuid.uuid4().hex for name in UNIQUE_TEXTS if name in row}
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL(
        "insert into public.{0} ({1}) select {1} from jsonb_populate_record(null::public.{0}, %(row)s)"
    ).format(sql.Identifier(table.name), names)
    return statement, {"row": json.dumps(row)}


def _update(db: Session, scene: Scene, actor: str, table: Table, tenant: uuid.UUID) -> Statement:
    columns = table.writable.get((scene.identity(actor)[0], "update"), ()) or table.columns
    fixed = {"id", "tenant_id", "version", "created_at", "updated_at"}
    column = next((name for name in columns if name not in fixed), columns[0])
    query = sql.SQL("update public.{0} set {1} = {1} where {2} = %(tenant)s").format(
        sql.Identifier(table.name), sql.Identifier(column), sql.Identifier(table.tenant_column)
    )
    return query, {"tenant": tenant}


def _delete(db: Session, scene: Scene, actor: str, table: Table, tenant: uuid.UUID) -> Statement:
    return _fill("delete from public.{} where {} = %(tenant)s", table), {"tenant": tenant}


def _move(db: Session, scene: Scene, actor: str, table: Table, tenant: uuid.UUID) -> Statement:
    """No WHERE: with one, the SELECT policy would be asked about the new row, and hide a missing check."""
    target = uuid.uuid4() if table.name == "tenants" else tenant
    return _fill("update public.{} set {} = %(target)s", table), {"target": target}


def _fill(query: str, table: Table) -> sql.Composed:
    return sql.SQL(query).format(sql.Identifier(table.name), sql.Identifier(table.tenant_column))


_STATEMENTS: dict[str, Callable[[Session, Scene, str, Table, uuid.UUID], Statement]] = {
    "select": _select,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "move": _move,
}
