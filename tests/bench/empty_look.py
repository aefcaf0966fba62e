"""An empty look at the outbox while a session holds xmin open and dead entries pile up."""

from __future__ import annotations

from typing import Any

from tests.bench.connections import Connection, direct, dispatch_all, gateway
from tests.bench.figures import Line, spread, timed
from tests.flow.scene import Scene

DEAD = 300_000
TIMES = 500
TARGET_MS = 2.0
FILL = """
insert into private.outbox (tenant_id, entity, entity_id, operation, version, new_row, occurred_at)
select %s, 'bench', gen_random_uuid(), 'UPDATE', n, '{}', now() from generate_series(1, %s) n
"""
LOOK = "select worker.dispatch_outbox(2000, %s::xid8)"


async def empty_look(scene: Scene) -> Line:
    """`dispatch_outbox` with the mark of the look before, directly and as the worker calls it."""
    url, addresses = scene.platform.admin_db_url, scene.platform.addresses
    tenant = await scene.people.make_tenant()
    async with direct(url) as connection, direct(url) as holder, gateway(addresses) as client:
        await dispatch_all(connection)
        await holder.execute("begin isolation level repeatable read")
        await holder.execute("select count(*) from private.outbox")
        for _ in range(30):
            await connection.execute(FILL, (tenant.id, DEAD // 30))
        await connection.execute("delete from private.outbox")
        mark = (await _look(connection, "0"))["mark"]
        bare = await timed(lambda: connection.execute("select 1"), TIMES)
        directly = await timed(lambda: _look(connection, mark), TIMES)
        through = await timed(
            lambda: client.call("dispatch_outbox", p_limit=2000, p_mark=mark, p_worker="bench"), TIMES
        )
        unmarked = await timed(lambda: _look(connection, "0"), 10, warm_up=2)
        await holder.execute("rollback")
    figures = spread(directly)
    return {
        "dead": DEAD,
        "directly": figures,
        "as_the_worker": spread(through),
        "target_ms": TARGET_MS,
        "met": figures["p99_ms"] < TARGET_MS,
        "reference": {"select_1": spread(bare), "without_mark": spread(unmarked)},
    }


async def _look(connection: Connection, mark: str) -> dict[str, Any]:
    row = await (await connection.execute(LOOK, (mark,))).fetchone()
    assert row is not None
    assert row[0]["events"] == 0, "the outbox is not empty"
    return dict(row[0])
