"""What a query touches and how: for tests of plans, which ask for pages and nodes, never for milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

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


async def connect_for_bulk(database: Database) -> Connection:
    """A session that fills tables as they are: no triggers, no foreign keys."""
    bulk = await database.connect("supabase_admin")
    await bulk.execute("set session_replication_role = replica")
    return bulk
