"""Moving an order touches its own pages, in a session that planned its queries on empty tables."""

from __future__ import annotations

from typing import LiteralString

from tests.databases import Connection, Database
from tests.sql.company import Company
from tests.sql.ordering import happen, open_shop, part, place, wants
from tests.sql.plans import connect_for_bulk, pages

FILL: LiteralString = """
    create table many as select gen_random_uuid() as id, n from generate_series(1, 50000) n;
    insert into public.orders
      (id, tenant_id, number, currency, net_total, tax_total, total, quantity, placed_at)
    select m.id, t.id, 'B-' || m.n, 'USD', 1, 0, 1, 1, now() from public.tenants t, many m;
    insert into public.order_lines
      (tenant_id, order_id, position, product_id, sku, name, unit_price, quantity,
      net_total, tax_total, total)
    select p.tenant_id, m.id, 1, p.id, p.sku, p.name, 1, 1, 1, 0, 1
    from public.products p, many m where p.sku = 'SOCK';
    insert into public.reservations
      (tenant_id, product_id, location_id, level_id, order_id, quantity, shipped, status)
    select l.tenant_id, l.product_id, l.location_id, l.id, m.id, 1, 1, 'shipped'
    from public.stock_levels l join public.products p on p.id = l.product_id and p.sku = 'SOCK', many m;
    drop table many;
    -- What autovacuum does soon; until then the checks of foreign keys may go by another index of the tenant.
    analyze public.orders;
"""
EVENT: LiteralString = "select public.order_event(%s, %s, %s, null)"


async def test_an_event_does_not_walk_other_orders(
    database: Database, db: Connection, company: Company
) -> None:
    shop = await open_shop(db, company)
    early = await place(db, company, [wants(shop.shirt, 2), wants(shop.sock, 1)])
    for _ in range(3):
        order = await place(db, company, [wants(shop.shirt, 1), wants(shop.sock, 1)])
        order = await happen(db, company, order, "pay")
        order = await happen(db, company, order, "fulfil", lines=part(order, 1))
        await happen(db, company, order, "cancel")
    await (await connect_for_bulk(database)).execute(FILL)
    await db.execute("select set_config('request.jwt.claims', %s, false)", ('{"role": "service_role"}',))
    await db.execute("set role service_role")
    whole = await pages(db, "select count(*) from public.orders where customer <> '{}'")
    assert whole > 1000, "what a walk would touch"
    for event in ("pay", "ship", "return", "refund"):
        touched = await pages(db, EVENT, company.tenant_id, early["id"], event)
        assert touched < whole, f"{event} touched {touched} pages"
