"""What a query touches and how: for tests of plans, which ask for pages and nodes, never for milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, LiteralString

from psycopg.errors import Diagnostic

from tests.databases import Connection, Database
from tests.sql.ask import value

Node = dict[str, Any]


async def pages(connection: Connection, query: LiteralString, *values: object) -> int:
    """Pages of shared buffers that running the query touches, inside functions too."""
    plan = await value(connection, "explain (analyze, buffers, format json) " + query, *values)
    top: Node = plan[0]["Plan"]
    touched: int = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return touched


async def nodes(connection: Connection, query: LiteralString, *values: object) -> list[Node]:
    """Every node of the query's plan, top first."""
    plan = await value(connection, "explain (verbose, format json) " + query, *values)
    return list(walk(plan[0]["Plan"]))


def walk(node: Node) -> Iterator[Node]:
    """`node` and every node below it, top first."""
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


async def explain_all(superuser: Connection) -> list[Node]:
    """A list that gets the plan of each further statement of the session, inside functions too, as it ran."""
    plans: list[Node] = []

    def keep(told: Diagnostic) -> None:
        plan = (told.message_primary or "").partition("plan:")[2]
        if plan:
            plans.append(json.loads(plan)["Plan"])

    superuser.add_notice_handler(keep)
    await superuser.execute("load 'auto_explain'")
    for setting in _EXPLAINED:
        await superuser.execute(b"set auto_explain." + setting)
    return plans


_EXPLAINED = (
    b"log_min_duration = 0", b"log_nested_statements = on", b"log_analyze = on", b"log_timing = off",
    b"log_format = json", b"log_level = notice",
)  # fmt: skip


def looked_at(node: Node) -> float:
    """Rows that a node of a plan that ran made or threw away, in all its loops."""
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    rows: float = node["Actual Loops"] * sum(node.get(name, 0) for name in names)
    return rows


def most_looked_at(plans: list[Node]) -> float:
    """What the busiest node of these plans looked at."""
    return max(looked_at(node) for plan in plans for node in walk(plan))


async def connect_for_bulk(database: Database) -> Connection:
    """A session that fills tables as they are: no triggers, no foreign keys."""
    bulk = await database.connect("supabase_admin")
    await bulk.execute("set session_replication_role = replica")
    return bulk
