"""A page of products as a member reads it, beside the same query filtered by hand without policies."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from typing import LiteralString

from tests.bench.connections import Connection, direct
from tests.bench.figures import Line, spread
from tests.flow.scene import Scene

TENANTS, PRODUCTS_EACH = 2000, 500
PAGE = 50
ROUNDS = 1500
PLACES = (0, 100, 400)
"""How many products lie before the pages that are read: a page costs the same at any depth."""

PAGE_OF_TENANT: LiteralString = (
    "select * from public.products"
    " where tenant_id = %s and deleted_at is null and (created_at, id) > (%s, %s)"
    " order by created_at, id limit 50"
)
PAGE_OF_MINE: LiteralString = PAGE_OF_TENANT.replace("tenant_id = %s and ", "")
Start = tuple[datetime, uuid.UUID]

# Rows of a tenant lie scattered, as they do when all tenants add products at the same time.
FILL: LiteralString = """
    insert into public.tenants (slug, name) select 'tenant-' || n, 'T' from generate_series(1, %s) n;
    insert into public.products (tenant_id, sku, name, description, status, price, created_at, updated_at)
    select t.id, 'SKU-' || n, 'Product ' || n, repeat('A sturdy thing. ', 10), 'active', n,
      timestamptz '2026-01-01' + n * interval '1 minute', timestamptz '2026-01-01' + n * interval '1 minute'
    from generate_series(1, %s) n, public.tenants t where t.slug like 'tenant-%%'
"""


async def products_page(scene: Scene) -> Line:
    """50 rows by keyset at 1,000,000 products in 2,000 tenants: under RLS, and as `postgres` by hand.

    `mine_under_rls` leaves the tenant to RLS alone, `under_rls` names it, as the query by hand does.
    """
    async with (
        direct(scene.platform.admin_db_url) as bulk,
        direct(scene.platform.db_url) as by_hand,
        direct(scene.platform.db_url) as under_rls,
    ):
        tenant, member = await _fill(bulk, scene)
        starts = [await _start(by_hand, tenant, skip) for skip in PLACES]
        claims = json.dumps({"role": "authenticated", "sub": str(member)})
        await under_rls.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
        await under_rls.execute("set role authenticated")
        taken: dict[str, list[float]] = {"by_hand": [], "under_rls": [], "mine_under_rls": []}
        # Turn by turn, so that whatever else the machine does meets all of them.
        for turn in range(ROUNDS + 50):
            start = starts[turn % len(starts)]
            took = {
                "by_hand": await _read(by_hand, PAGE_OF_TENANT, tenant, *start),
                "under_rls": await _read(under_rls, PAGE_OF_TENANT, tenant, *start),
                "mine_under_rls": await _read(under_rls, PAGE_OF_MINE, *start),
            }
            if turn >= 50:
                for name, seconds in took.items():
                    taken[name].append(seconds)
    figures = {name: spread(seconds) for name, seconds in taken.items()}
    ratio = {
        f"{name}_ratio_{rank}": round(figures[name][f"{rank}_ms"] / figures["by_hand"][f"{rank}_ms"], 2)
        for name in ("under_rls", "mine_under_rls")
        for rank in ("p50", "p99")
    }
    return {"products": TENANTS * PRODUCTS_EACH, "tenants": TENANTS, "rows": PAGE, **ratio, **figures}


async def _fill(bulk: Connection, scene: Scene) -> tuple[uuid.UUID, uuid.UUID]:
    """Fills the tables as they are, without triggers; a tenant, and somebody who may see it."""
    member = (await scene.people.make_user()).id
    await bulk.execute("set session_replication_role = replica")
    for statement, count in zip(FILL.split(";"), (TENANTS, PRODUCTS_EACH), strict=True):
        await bulk.execute(statement, (count,))
    cursor = await bulk.execute(
        "insert into public.memberships (tenant_id, principal_id, role)"
        " select id, %s, 'viewer' from public.tenants where slug = %s returning tenant_id",
        (member, f"tenant-{TENANTS // 2}"),
    )
    row = await cursor.fetchone()
    assert row is not None
    await bulk.execute("vacuum analyze public.products, public.memberships, public.tenants")
    return row[0], member


async def _start(connection: Connection, tenant: uuid.UUID, skip: int) -> Start:
    """Where the page after `skip` products begins."""
    cursor = await connection.execute(
        "select created_at, id from public.products where tenant_id = %s order by created_at, id"
        " offset greatest(%s - 1, 0) limit 1",
        (tenant, skip),
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def _read(connection: Connection, query: LiteralString, *values: object) -> float:
    started = time.perf_counter()
    rows = await (await connection.execute(query, values)).fetchall()
    took = time.perf_counter() - started
    assert len(rows) == PAGE
    return took
