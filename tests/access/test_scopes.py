"""Scopes × the real policies: a key with one permission of its role gets what that one gives, everywhere."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest

from tests.access.catalogue import Table, list_functions, list_tables
from tests.access.mutations import list_policies
from tests.access.permissions import read_permissions
from tests.access.probe import ALLOWED, DENIED, try_function, try_table
from tests.access.scene import Scene, Session, set_scene
from tests.databases import Database

PERMISSIONS = read_permissions()
WRITES = ("insert", "update", "delete")
# Of the views, which have no policies, the one that a single permission opens.
VIEWS = {"webhook_deliveries": "webhooks.read"}
# What any member may call, whom tenant.read lets in.
OPEN_TO_READERS = {"pull_changes", "report_state", "sync_status"}
NAIVE: LiteralString = """
create or replace function private.tenants_with(p_permission text) returns uuid[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(m.tenant_id), '{}') from public.memberships m
  join private.role_permissions rp on rp.role = m.role and rp.permission = p_permission
  where m.principal_id = auth.uid()
$$
"""


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with psycopg.connect(database.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def scene(session: Session) -> Scene:
    """With a manager's key beside the people."""
    scene = set_scene(session)
    key = uuid.uuid4()
    session.execute(
        "insert into public.api_keys (id, tenant_id, name, role) values (%s, %s, 'Key', 'manager')",
        (key, scene.own),
    )
    session.execute(
        "insert into public.memberships (tenant_id, principal_id, role, kind)"
        " values (%s, %s, 'manager', 'api_key')",
        (scene.own, key),
    )
    return replace(scene, people={**scene.people, "key": key})


def needed(session: Session, table: Table) -> dict[str, str]:
    """Action → the permission that its permissive policy names."""
    found: dict[str, str] = {}
    for policy in list_policies(session, table):
        named = re.search(r"tenants_with\('([a-z_.]+)'", f"{policy.using} {policy.check}")
        if policy.is_permissive and named:
            found[policy.action] = named[1]
    return found


def limit_key(session: Session, scene: Scene, *scopes: str) -> None:
    session.execute(
        "update public.memberships set scopes = %s where principal_id = %s",
        (list(scopes), scene.people["key"]),
    )


def read_slice(session: Session, scene: Scene) -> Iterator[str]:
    """What a key with one reading permission sees that it should not, or does not see."""
    tables = {table.name: table for table in list_tables(session)}
    reading = {name: needed(session, table).get("select", VIEWS.get(name)) for name, table in tables.items()}
    for scope in sorted({permission for permission in reading.values() if permission}):
        limit_key(session, scene, scope)
        for name, permission in reading.items():
            if name == "api_keys":
                continue  # it sees itself
            outcome = try_table(session, scene, "key", tables[name], "select", scene.own)
            if (outcome == ALLOWED) != (permission == scope):
                yield f"{scope} reads {name}: {outcome}"


def test_a_key_with_one_reading_permission_reads_what_that_one_opens(session: Session, scene: Scene) -> None:
    with session.transaction():
        assert list(read_slice(session, scene)) == []


def test_without_scopes_in_tenants_with_the_same_look_finds_leaks(session: Session, scene: Scene) -> None:
    with session.transaction():
        session.execute(NAIVE)
        leaks = list(read_slice(session, scene))
    assert "products.read reads orders: allowed" in leaks
    assert len(leaks) > 50


def test_a_key_writes_only_with_the_writing_permission(session: Session, scene: Scene) -> None:
    """Each table, each action: with reading alone refused, with both allowed as for the role."""
    wrong = []
    with session.transaction():
        for table in list_tables(session):
            permissions = needed(session, table)
            for action in WRITES:
                if action not in permissions or "manager" not in PERMISSIONS.tables[table.name][action]:
                    continue
                if table.name == "sync_changes":
                    continue  # its policy asks for the principal too
                for extra, expected in ((False, DENIED), (True, ALLOWED)):
                    limit_key(session, scene, permissions["select"], *[permissions[action]] * extra)
                    outcome = try_table(session, scene, "key", table, action, scene.own)
                    if outcome != expected:
                        wrong.append(f"{action} {table.name} with {extra=}: {outcome}")
    assert wrong == []


def test_a_key_that_may_read_the_tenant_alone_may_call_next_to_nothing(
    session: Session, scene: Scene
) -> None:
    functions = [each for each in list_functions(session) if each.name in PERMISSIONS.commands]
    with session.transaction():
        limit_key(session, scene, "tenant.read")
        allowed = {
            each.name for each in functions if try_function(session, scene, "key", each, scene.own) == ALLOWED
        }
    assert allowed == OPEN_TO_READERS
