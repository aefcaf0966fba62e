"""The SQL side of broadcasts: `realtime.messages` and the functions that write to it, as recorded in 50."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.contract.realtime.conftest import Bench
from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.transcript import FRAMES, Step, read_transcript
from tests.stack.template import REALTIME_SCHEMA

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

Database = AsyncConnection[Any]
STEPS = [
    step
    for step in read_transcript(FRAMES / "50_bc_definition_and_sql_semantics.jsonl").steps
    if step.kind == "sql"
]


def recorded(start: str) -> Step:
    return next(step for step in STEPS if step.statement.startswith(start))


async def rows(database: Database, statement: str) -> list[list[Any]]:
    return [list(row) for row in await (await database.execute(statement.encode())).fetchall()]


async def value(database: Database, statement: str) -> Any:
    (row,) = await rows(database, statement)
    return row[0]


@pytest.mark.parametrize(
    "start",
    [
        "select column_name",
        "select pg_get_partkeydef",
        "select indexdef",
        "select oid::regprocedure",
    ],
)
async def test_definitions_are_those_of_the_real_server(database: Database, start: str) -> None:
    step = recorded(start)
    got = await rows(database, step.statement)
    shown = [[_shown(cell) for cell in row] for row in got]
    expected = [[_shown(cell) for cell in row] for row in step.fields["rows"]]
    if start == "select oid::regprocedure":  # grants name roles that only the hosted platform has
        shown, expected = [row[:3] for row in shown], [row[:3] for row in expected]
    assert sorted(shown, key=str) == sorted(expected, key=str)


def _shown(cell: Any) -> Any:
    return cell if cell is None else str(cell)


async def test_partitions_reach_from_yesterday_to_three_days_ahead(
    server: ServerProcess, database: Database
) -> None:
    names = await rows(
        database,
        "select relname from pg_inherits join pg_class on oid = inhrelid"
        " where inhparent = 'realtime.messages'::regclass order by relname",
    )
    days = [datetime.strptime(name, "messages_%Y_%m_%d").replace(tzinfo=UTC).date() for (name,) in names]
    asked = [server.started_on + timedelta(days=offset) for offset in range(-1, 4)]
    assert days[: len(asked)] == asked
    # beyond them only what a server of a later test made after midnight
    assert days[-1] in (asked[-1], datetime.now(UTC).date() + timedelta(days=3))
    for day in (days[0], days[-1]):
        async with database.transaction(force_rollback=True):
            insert = "insert into realtime.messages (topic, extension, inserted_at)"
            statement = f"{insert} values ('d', 'x', '{day} 12:00') returning tableoid::regclass::text"
            assert await value(database, statement) == f"realtime.messages_{day:%Y_%m_%d}"


async def test_partitions_give_nothing_to_the_roles_of_the_api(database: Database) -> None:
    """A partition inherits neither the row-level security of its parent nor its grants."""
    readable = await rows(
        database,
        """
        select c.oid::regclass::text, r.rolname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        cross join pg_roles r
        where i.inhparent = 'realtime.messages'::regclass
          and r.rolname in ('anon', 'authenticated', 'service_role')
          and has_table_privilege(r.rolname, c.oid, 'select, insert, update, delete')
        """,
    )
    assert readable == []


async def test_send_sets_the_topic_until_the_end_of_the_transaction(database: Database) -> None:
    async with database.transaction():
        await database.execute("select realtime.send('{\"n\": 1}', 'ring', 'sem', true)")
        assert await value(database, "select realtime.topic()") == "sem"
        # a send whose error was caught leaves the former topic
        await database.execute("select realtime.send('[1]', 'ring', 'bad', true)")
        assert await value(database, "select realtime.topic()") == "sem"
    assert await value(database, "select realtime.topic()") is None


async def test_send_in_a_read_only_transaction_warns_and_lets_it_go_on(database: Database) -> None:
    warnings: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(str(diagnostic.message_primary))

    database.add_notice_handler(hear)
    try:
        async with database.transaction():
            await database.execute("set transaction read only")
            await database.execute("select realtime.send('{\"n\": 1}', 'ring', 'sem', true)")
            assert await value(database, "select 1") == 1
    finally:
        database.remove_notice_handler(hear)
    assert warnings == ["WarnSendingBroadcastMessage: cannot execute INSERT in a read-only transaction"]


async def test_statement_timeout_of_a_send_is_not_swallowed(database: Database) -> None:
    send = "select realtime.send(jsonb_build_object('x', repeat('y', 30000000)), 'ring', 'sem', true)"
    async with database.transaction(force_rollback=True):
        await database.execute("set local statement_timeout = '1ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await database.execute(send)


async def test_schema_can_be_applied_again(bench: Bench, database: Database) -> None:
    async with database.transaction(force_rollback=True):
        await database.execute(REALTIME_SCHEMA.read_bytes())
