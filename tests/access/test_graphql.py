"""GraphQL is opt-in: absent here, it says so and changes nothing; its names are valid where it is present."""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.company import Company
from tests.stack.graphql import NO_GRAPHQL_ANSWER

COMMENTS = (
    "select obj_description(c.oid, 'pg_class') from pg_class c where relnamespace = 'public'::regnamespace"
)


async def test_without_the_extension_it_says_so_and_changes_nothing(db: Connection) -> None:
    if await value(db, "select count(*) from pg_available_extensions where name = 'pg_graphql'"):
        pytest.skip("this Postgres has pg_graphql")
    before = await column(db, COMMENTS)
    assert await value(db, "select graphql_public.graphql()") == NO_GRAPHQL_ANSWER
    with pytest.raises(psycopg.Error, match=r"graphql\.unavailable") as refused:
        await db.execute("select private.enable_graphql()")
    assert refused.value.sqlstate == "PT501"
    assert await column(db, COMMENTS) == before
    assert await value(db, "select to_regnamespace('graphql')") is None
    assert await value(db, "select graphql_public.graphql()") == NO_GRAPHQL_ANSWER


async def test_every_name_is_valid_and_of_a_table_and_naming_twice_is_naming_once(db: Connection) -> None:
    names = await rows(db, "select table_name, type_name from private.graphql_names()")
    named = await value(db, "select private.name_graphql_types()")
    assert named == len(names) == len({name for _, name in names})
    once = await column(db, COMMENTS)
    await db.execute("select private.name_graphql_types()")
    assert await column(db, COMMENTS) == once
    for table, name in names:
        comment = await value(db, "select obj_description(%s::regclass, 'pg_class')", f"public.{table}")
        words, directive = re.fullmatch(r"(.*) @graphql\((.+)\)", comment).groups()  # type: ignore[union-attr]  # no match fails
        assert json.loads(directive)["name"] == name
        assert len(words) > 10, "the words for people stay"


async def test_a_foreign_key_to_its_own_table_has_a_name_for_each_end(db: Connection) -> None:
    """Else pg_graphql names both ends after the type, and of two of one name it shows one."""
    own = await column(
        db,
        "select conname::text from pg_constraint where contype = 'f' and conrelid = confrelid"
        " and connamespace = 'public'::regnamespace and conparentid = 0",
    )
    for _ in range(2):
        await db.execute("select private.name_graphql_types()")
    relations = await rows(db, "select constraint_name, up, down from private.graphql_relations()")
    assert sorted(own) == sorted(name for name, _, _ in relations)
    for name, up, down in relations:
        comment = await value(
            db, "select obj_description(oid, 'pg_constraint') from pg_constraint where conname = %s", name
        )
        (directive,) = re.fullmatch(r"@graphql\((.+)\)", comment).groups()  # type: ignore[union-attr]  # no match fails
        assert json.loads(directive) == {"foreign_name": up, "local_name": down}


async def test_clients_cannot_turn_it_on(db: Connection, company: Company) -> None:
    for role in ("authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner, role=role):
                await db.execute("select private.enable_graphql()")
