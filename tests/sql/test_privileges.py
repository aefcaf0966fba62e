"""The rules about privileges hold, and each of them names what breaks it."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from tests.check.privileges import RULES, broken_rules, list_privileges
from tests.databases import Database

HARMLESS: LiteralString = "() returns integer language sql set search_path = '' as 'select 1'"
NEW_DAY: LiteralString = "partition of public.events for values from ('2030-01-01') to ('2030-01-02')"

BREAKS: list[tuple[str, LiteralString, str]] = [
    (
        "anon may execute nothing of ours",
        "grant execute on function private.today() to anon",
        "private.today()",
    ),
    (
        "anon may execute nothing of ours",
        "create function public.forgotten" + HARMLESS,  # the platform's default privileges do the rest
        "forgotten()",
    ),
    (
        "no security definer in an exposed schema is callable by clients",
        ("create function public.leak() returns integer language sql security definer set search_path = ''"
        " as 'select 1'; revoke all on function public.leak() from public, anon"),
        "leak()",
    ),
    (
        "the schema worker is for service_role alone",
        "grant execute on function worker.worker_status() to authenticated",
        "worker.worker_status()",
    ),
    (
        "the schema worker is for service_role alone",
        "create function worker.useless" + HARMLESS + "; revoke all on function worker.useless() from public",
        "worker.useless()",
    ),
    (
        "every function pins its search_path",
        "create function private.loose() returns integer language sql as 'select 1'",
        "private.loose()",
    ),
    (
        "every function pins its search_path",
        "alter function private.today() set search_path = public",
        "private.today()",
    ),
    ("anon may touch no table of ours", "grant select (name) on public.products to anon", "products"),
    ("anon may touch no table of ours", "create table public.forgotten (id integer)", "forgotten"),
    ("no client may truncate", "grant truncate on public.products to service_role", "products"),
    (
        "every table has row-level security, partitions too",
        "alter table private.outbox disable row level security",
        "private.outbox",
    ),
    (
        "every table has row-level security, partitions too",
        "create table private.events_20300101 " + NEW_DAY,
        "private.events_20300101",
    ),
    (
        "a partition is out of every client's reach",
        "create table private.events_20300101 " + NEW_DAY
        + "; grant select (body) on private.events_20300101 to service_role",
        "private.events_20300101",
    ),
    ("a partition is out of every client's reach", "create table public.astray " + NEW_DAY, "astray"),
    ("views run as their caller", "create view public.everything as table public.products", "everything"),
    (
        "every tenant table that clients reach has its restrictive guard",
        'drop policy "only within one\'s own tenants" on public.locations',
        "locations",
    ),
    (
        "one permissive policy per table, action and role",
        "create policy extra on public.products for select to authenticated using (false)",
        "products r",
    ),
    (
        "one permissive policy per table, action and role",
        "create policy extra on public.tenants for all to authenticated using (false)",
        "tenants for all",
    ),
]  # fmt: skip


def test_every_rule_holds(database: Database) -> None:
    with psycopg.connect(database.url()) as connection:
        assert broken_rules(connection) == []


def test_every_rule_names_what_breaks_it(database: Database) -> None:
    with psycopg.connect(database.url(), autocommit=True) as connection:
        for rule, breaking, culprit in BREAKS:
            with connection.transaction(force_rollback=True):
                connection.execute(breaking)
                assert f"{rule}: {culprit}" in broken_rules(connection)
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("grant execute on function private.today() to authenticated", "private.today(): authenticated"),
        (
            "grant update (quantity) on public.stock_movements to service_role",
            "public.stock_movements service_role: select, update (quantity)",
        ),
    ],
)
def test_the_list_shows_a_new_privilege(database: Database, change: LiteralString, line: str) -> None:
    with psycopg.connect(database.url()) as connection:
        assert line not in list_privileges(connection)
        connection.execute(change)
        assert line in list_privileges(connection)
