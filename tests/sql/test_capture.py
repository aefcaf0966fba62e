"""Capture: what the triggers write to the outbox, whatever the writer's session is like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from tests.databases import Connection, Database
from tests.sql.ask import rpc, value
from tests.sql.company import Company, add_endpoint, add_product, add_products, rename
from tests.sql.plans import explain_all, most_looked_at

LAST_BODY: LiteralString = "select body from public.events order by seq desc limit 1"


def times(event: dict[str, Any]) -> Iterator[str]:
    yield event["timestamp"]
    yield from (event["data"]["object"][name] for name in ("created_at", "updated_at"))


async def test_an_event_reads_the_same_whatever_zone_its_writer_is_in(
    db: Connection, company: Company
) -> None:
    """A PostgREST client may send `Prefer: timezone=…`."""
    product = await add_product(db, company)
    await db.execute("set timezone = 'Asia/Kolkata'")
    await rename(db, product, "Renamed")
    await rpc(db, "dispatch_outbox")
    event = json.loads(await value(db, LAST_BODY))
    assert all(time.endswith(("Z", "+00:00")) for time in times(event)), event


@pytest.mark.parametrize("hash_joins", ["on", "off"], ids=["free", "pinned by the caller"])
async def test_a_plan_made_for_one_row_serves_many(
    database: Database, db: Connection, company: Company, hash_joins: str
) -> None:
    """A session keeps its plan; a nested loop over the old and new rows would look at their product."""
    many = 500
    one, *_ = await add_products(db, company, many)
    session = await database.connect("supabase_admin")
    await session.execute(f"set enable_hashjoin = {hash_joins}".encode())
    for number in range(10):
        await rename(session, one, f"Warm {number}")
    plans = await explain_all(session)
    await session.execute("update public.products set name = name || '!'")
    assert many <= most_looked_at(plans) <= 50 * many, "a few for each of its columns, not all for each"


async def test_a_slice_ends_before_its_fan_out_takes_too_long(db: Connection, company: Company) -> None:
    await add_endpoint(db, company)
    await db.execute(
        "insert into public.webhook_endpoints (tenant_id, url)"
        " select %s, 'https://example.com/' || n from generate_series(1, 999) n",
        (company.tenant_id,),
    )
    while not (await rpc(db, "dispatch_outbox"))["drained"]:
        pass
    await add_products(db, company, 101)
    first, second = [await rpc(db, "dispatch_outbox") for _ in range(2)]
    assert (first["events"], first["deliveries"], first["drained"]) == (100, 100_000, False)
    assert (second["events"], second["deliveries"], second["drained"]) == (1, 1_000, True)
