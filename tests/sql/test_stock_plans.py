"""What a reservation touches does not grow with the stock, the ledger, or what was reserved before."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.databases import Connection, Database
from tests.sql.ask import value
from tests.sql.company import Company, add_location
from tests.sql.inventory import Shelf
from tests.sql.plans import connect_for_bulk, pages

LEVELS = 50_000
FILL = """
with product as (
  insert into public.products (id, tenant_id, sku, name)
  select gen_random_uuid(), %(tenant)s, 'P-' || n, 'Product ' || n from generate_series(1, %(count)s) n
  returning id
), level as (
  insert into public.stock_levels (id, tenant_id, product_id, location_id, on_hand, reserved)
  select gen_random_uuid(), %(tenant)s, p.id, %(place)s, 100, 1 from product p returning id, product_id
), movement as (
  insert into public.stock_movements
    (tenant_id, level_id, level_version, kind, quantity, reserved_quantity, on_hand_after, reserved_after)
  select %(tenant)s, l.id, 1, 'repair', 100, 1, 100, 1 from level l
)
insert into public.reservations (tenant_id, product_id, location_id, level_id, quantity, status, expires_at)
select %(tenant)s, l.product_id, %(place)s, l.id, 1, s.status,
  case s.status when 'held' then now() + interval '1 day' end
from level l cross join (values ('held'), ('expired')) s (status)
"""
CALLS = {
    "reserve_stock": "select private.reserve_for(%s, %s::jsonb)",
    "receive_stock": "select private.move_stock(%s, 'receive', %s::jsonb, null)",
    "count_stock": "select private.count_levels(%s, %s::jsonb, null)",
}


@pytest.fixture
async def shelf(database: Database, db: Connection, company: Company) -> Shelf:
    """One of 50,000, each with a movement and two reservations."""
    place = await add_location(db, company)
    bulk = await connect_for_bulk(database)
    await bulk.execute(FILL, {"tenant": company.tenant_id, "place": place, "count": LEVELS})
    product: uuid.UUID = await value(db, "select product_id from public.stock_levels offset 25000 limit 1")
    return Shelf(company, product, place)


async def test_a_command_touches_little_however_much_there_is(
    database: Database, db: Connection, shelf: Shelf
) -> None:
    """A reservation without statistics, too: its plan may be from when the tables were empty."""
    await _touches_little(db, shelf, ["reserve_stock"])
    await db.execute("analyze")
    await _touches_little(await database.connect(), shelf, list(CALLS))


async def _touches_little(db: Connection, shelf: Shelf, commands: list[str]) -> None:
    lines = json.dumps([{**shelf.line(1), "counted": 99}])
    for name in commands:
        for _ in range(2):  # the first call reads the catalogue
            touched = await pages(db, CALLS[name], shelf.company.tenant_id, lines)
        assert touched < 250, f"{name} touched {touched} pages"
    held = "select id from public.reservations where product_id = %s and status = 'held' limit 1"
    reservation = await value(db, held, shelf.product)
    for call in ("commit_for(%s, array[%s]::uuid[])", "release_for(%s, array[%s]::uuid[])"):
        touched = await pages(db, f"select private.{call}", shelf.company.tenant_id, reservation)
        assert touched < 600, f"{call} touched {touched} pages"  # a first call reads the catalogue, too
    swept = await pages(db, "select worker.sweep_reservations()")
    assert swept < 600, f"a sweep of nothing touched {swept} pages"
