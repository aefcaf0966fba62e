"""Reports say what a reader computes by hand, to owners and managers, about their own tenant."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import rows, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import (
    Company,
    add_endpoint,
    add_location,
    add_member,
    adjust,
    found_company,
    receive,
    stock_line,
)
from tests.sql.inventory import reserve, settle
from tests.sql.ordering import add_priced, happen, open_shop, part, place, wants
from tests.sql.plans import connect_for_bulk, pages

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
REPORTS = ("sales_by_day", "stock_turnover", "stock_out_history", "slow_movers", "delivery_health")
VIEWS = ("stock_valuation", "stock_outs")


async def report(
    db: Connection,
    company: Company,
    name: str,
    first: dt.date,
    last: dt.date,
    *more: object,
    who: uuid.UUID | None = None,
) -> list[tuple[Any, ...]]:
    """`public.<name>(tenant, first, last, …)` as `who`, by default the owner."""
    assert name in REPORTS
    holes = ", ".join(["%s"] * (3 + len(more)))
    async with acting_as(db, who or company.owner):
        cursor = await db.execute(
            f"select * from public.{name}({holes})".encode(), (company.tenant_id, first, last, *more)
        )
        return await cursor.fetchall()


async def view(db: Connection, name: LiteralString, who: uuid.UUID) -> list[tuple[Any, ...]]:
    async with acting_as(db, who):
        return await rows(db, "select * from public." + name)


@dataclass(frozen=True)
class Calendar:
    """A clock that starts at midnight UTC, ten days from now, so that no row is older."""

    db: Connection
    today: dt.date

    async def later(self, by: dt.timedelta) -> None:
        await move_clock(self.db, by)

    def at(self, days: float = 0) -> dt.datetime:
        midnight = dt.datetime.combine(self.today, dt.time(), dt.UTC)
        return midnight + days * DAY


@pytest.fixture
async def calendar(db: Connection) -> Calendar:
    await stop_clock(db)
    await db.execute("update private.test_clock set at = date_trunc('day', at, 'UTC') + interval '10 days'")
    return Calendar(db, await value(db, "select (private.now() at time zone 'UTC')::date"))


# -- sales ---------------------------------------------------------------------------------------------------


async def test_sales_are_paid_pieces_without_those_that_came_back(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    shop = await open_shop(db, company)
    await calendar.later(HOUR)
    # 2 shirts at 12.50 and 3 socks at 3.99, taxed 0.19: 25.00 + 4.75, and 11.97 + 2.27 (2.2743)
    order = await place(
        db, company, [wants(shop.shirt, 2, tax_rate=0.19), wants(shop.sock, 3, tax_rate=0.19)]
    )
    order = await happen(db, company, order, "pay")
    await place(db, company, [wants(shop.shirt, 1)])  # never paid
    await calendar.later(DAY)
    # another day, 4 socks, of which one is returned and one never leaves: 2 × 3.99
    other = await happen(db, company, await place(db, company, [wants(shop.sock, 4)]), "pay")
    other = await happen(db, company, other, "fulfil", lines=part(other, 3))
    other = await happen(db, company, other, "return", lines=part(other, 1))
    await happen(db, company, other, "cancel")

    found = await report(db, company, "sales_by_day", calendar.today, calendar.today + DAY)
    sold = {(day, sku): figures for day, _, sku, *figures in found}
    tomorrow = calendar.today + DAY
    assert sold == {
        (calendar.today, "SHIRT"): ["USD", 1, 2, 0, Decimal("25.00"), Decimal("4.75"), Decimal("29.75")],
        (calendar.today, "SOCK"): ["USD", 1, 3, 0, Decimal("11.97"), Decimal("2.27"), Decimal("14.24")],
        (tomorrow, "SOCK"): ["USD", 1, 2, 1, Decimal("7.98"), Decimal(0), Decimal("7.98")],
    }
    assert await report(db, company, "sales_by_day", tomorrow, tomorrow) == found[-1:]
    assert await report(db, company, "sales_by_day", calendar.today - DAY, calendar.today - DAY) == []


async def test_a_day_begins_where_the_reader_lives(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    shop = await open_shop(db, company)
    await calendar.later(HOUR)  # 01:00 UTC: still the day before in New York
    await happen(db, company, await place(db, company, [wants(shop.shirt, 1)]), "pay")
    yesterday = calendar.today - DAY
    (sold,) = await report(db, company, "sales_by_day", yesterday, yesterday, "America/New_York")
    assert sold[0] == yesterday
    assert await report(db, company, "sales_by_day", yesterday, yesterday) == []


# -- stock ---------------------------------------------------------------------------------------------------


async def test_stock_is_valued_per_place_and_currency(db: Connection, company: Company) -> None:
    shop = await open_shop(db, company)
    yen = await add_priced(db, company, "FAN", "1200", "JPY")
    attic = await add_location(db, company, "ATTIC")
    await receive(db, company, [stock_line(yen, attic, 3), stock_line(shop.sock, attic, 2)])
    found = {
        (place, currency): tuple(rest)
        for _, place, currency, *rest in await view(db, "stock_valuation", company.owner)
    }
    assert found == {
        (shop.location, "USD"): (2, 20, Decimal("164.90")),  # 10 × 12.50 + 10 × 3.99
        (attic, "USD"): (1, 2, Decimal("7.98")),
        (attic, "JPY"): (1, 3, Decimal(3600)),
    }


async def test_turnover_divides_what_was_sold_by_the_stock_on_average(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    shop = await open_shop(db, company)  # ten of each at midnight
    await calendar.later(DAY)
    order = await happen(db, company, await place(db, company, [wants(shop.shirt, 6)]), "pay")
    order = await happen(db, company, order, "fulfil")
    await calendar.later(DAY)
    await happen(db, company, order, "return", lines=part(order, 1))
    await calendar.later(2 * DAY)
    await adjust(db, company, [stock_line(shop.shirt, shop.location, 20)])  # after the period

    # the first two days: 10 for a day, 4 for a day; 6 were shipped; the return falls on the third day
    first = await report(db, company, "stock_turnover", calendar.today, calendar.today + DAY)
    assert {sku: figures for _, sku, *figures in first} == {
        "SHIRT": [6, 0, 0, 4, Decimal(7), Decimal("0.8571")],
        "SOCK": [0, 0, 0, 10, Decimal(10), Decimal(0)],
    }
    # days two to four: 10 until the moment, then 4 for a day, then 5 for two
    last = await report(db, company, "stock_turnover", calendar.today + DAY, calendar.today + 3 * DAY)
    assert [row[1:] for row in last if row[1] == "SHIRT"] == [
        ("SHIRT", 6, 1, 10, 5, Decimal("4.6667"), Decimal("1.0714"))
    ]


async def test_stock_outs_are_told_while_they_last_and_afterwards(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    shop = await open_shop(db, company)
    await calendar.later(HOUR)
    (held,) = await reserve(db, company, [stock_line(shop.shirt, shop.location, 10)], expires_in="5 days")
    assert [row[2] for row in await view(db, "stock_outs", company.owner)] == ["SHIRT"]
    await calendar.later(DAY)
    await settle(db, company, "release", [held])
    assert await view(db, "stock_outs", company.owner) == []
    await calendar.later(DAY)
    await adjust(db, company, [stock_line(shop.sock, shop.location, -10)])
    await calendar.later(DAY)

    def shown(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [(sku, *spell) for _, sku, _, *spell in found]

    whole = await report(db, company, "stock_out_history", calendar.today, calendar.today + 9 * DAY)
    hour = 1 / 24
    assert shown(whole) == [
        ("SHIRT", calendar.at(hour), calendar.at(1 + hour), DAY),
        ("SOCK", calendar.at(2 + hour), None, DAY),
    ]
    # cut to its second day, where the shirt began without stock
    second = calendar.today + DAY
    assert shown(await report(db, company, "stock_out_history", second, second)) == [
        ("SHIRT", calendar.at(1), calendar.at(1 + hour), HOUR)
    ]
    # a day without a movement, told by what happened before
    fourth = calendar.today + 3 * DAY
    assert shown(await report(db, company, "stock_out_history", fourth, fourth)) == [
        ("SOCK", calendar.at(3), None, HOUR)
    ]


async def test_slow_movers_lie_while_others_are_shipped(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    shop = await open_shop(db, company)
    await add_priced(db, company, "EMPTY", "1")
    await calendar.later(HOUR)
    await happen(
        db,
        company,
        await happen(db, company, await place(db, company, [wants(shop.shirt, 2)]), "pay"),
        "ship",
    )
    found = await report(db, company, "slow_movers", calendar.today, calendar.today)
    assert found == [(shop.sock, "SOCK", "Sock", 0, 10, "USD", Decimal("39.90"))]
    patient = await report(db, company, "slow_movers", calendar.today, calendar.today, "UTC", 2)
    assert [(row[1], row[3], row[6]) for row in patient] == [
        ("SHIRT", 2, Decimal("100.00")),
        ("SOCK", 0, Decimal("39.90")),
    ]
    tomorrow = calendar.today + DAY
    later = await report(db, company, "slow_movers", tomorrow, tomorrow)
    assert [row[1] for row in later] == ["SHIRT", "SOCK"]


# -- webhooks ------------------------------------------------------------------------------------------------


async def add_attempts(
    db: Connection, company: Company, endpoint: dict[str, Any], began: dt.datetime, *tries: tuple[str, float]
) -> None:
    """One an hour from `began` on: outcome and milliseconds."""
    for number, (outcome, took) in enumerate(tries):
        at = began + number * HOUR
        await db.execute("select private.make_partition('webhook_attempts', %s)", (at.date(),))
        await db.execute(
            "insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id,"
            " event_id, event_type, outcome, duration_ms, started_at, settled_at)"
            " values (%s, %s, 1, %s, %s, 'evt', 'product.updated', %s, %s, %s, %s)",
            (
                at.date(),
                uuid.UUID(endpoint["id"]).int % 10**9 + number,
                company.tenant_id,
                endpoint["id"],
                outcome,
                took,
                at,
                at,
            ),
        )


async def test_delivery_health_tells_since_when_an_endpoint_fails(
    db: Connection, company: Company, calendar: Calendar
) -> None:
    well, ill, idle = [
        await add_endpoint(db, company, f"https://example.com/{name}") for name in ("well", "ill", "idle")
    ]
    await add_attempts(
        db,
        company,
        well,
        calendar.at(),
        ("retry", 500),
        ("delivered", 10),
        ("delivered", 20),
        ("delivered", 30),
    )
    await add_attempts(db, company, ill, calendar.at(), ("delivered", 40), ("retry", 60), ("failed", 80))
    await add_attempts(db, company, ill, calendar.at(1), ("delivered", 1))
    found = {
        row[1].rsplit("/")[-1]: row[3:]
        for row in await report(db, company, "delivery_health", calendar.today, calendar.today)
    }
    assert found == {
        "well": (4, 3, Decimal("0.75"), Decimal(20), Decimal(500), None),
        "ill": (3, 1, Decimal("0.3333"), Decimal(60), Decimal(80), calendar.at(1 / 24)),
        "idle": (0, 0, None, None, None, None),
    }
    assert idle["status"] == "active"
    healed = await report(db, company, "delivery_health", calendar.today, calendar.today + DAY)
    assert {row[8] for row in healed} == {None}


# -- who, and how much ---------------------------------------------------------------------------------------


async def refused(
    db: Connection, company: Company, name: str, who: uuid.UUID, *period: Any
) -> tuple[str | None, str | None]:
    with pytest.raises(psycopg.Error) as error:
        await report(db, company, name, *(period or (dt.date(2026, 1, 1), dt.date(2026, 1, 2))), who=who)
    return error.value.sqlstate, error.value.diag.message_primary


async def test_reports_are_for_owners_and_managers_of_the_tenant(db: Connection, company: Company) -> None:
    shop = await open_shop(db, company)
    await adjust(db, company, [stock_line(shop.sock, shop.location, -10)])
    stranger = (await found_company(db, "globex")).owner
    manager = await add_member(db, company, "manager")
    for name in REPORTS:
        for role in ("clerk", "viewer", "integration"):
            assert await refused(db, company, name, await add_member(db, company, role)) == (
                "PT403",
                "access.denied",
            )
        assert await refused(db, company, name, stranger) == ("PT404", "tenant.not_found")
        await report(db, company, name, dt.date(2026, 1, 1), dt.date(2026, 12, 31), who=manager)
    for name in VIEWS:
        assert await view(db, name, manager)
        assert await view(db, name, await add_member(db, company, "clerk")) == []
        assert await view(db, name, stranger) == []
        async with acting_as(db, role="service_role"):
            assert await rows(db, "select * from public." + name)


@pytest.mark.parametrize(
    "period",
    [
        (dt.date(2026, 1, 2), dt.date(2026, 1, 1)),
        (dt.date(2025, 1, 1), dt.date(2026, 1, 2)),
        (None, dt.date(2026, 1, 1)),
        ("-infinity", dt.date(2026, 1, 1)),
    ],
)
async def test_a_period_is_one_day_to_a_year(
    db: Connection, company: Company, period: tuple[Any, Any]
) -> None:
    for name in REPORTS:
        assert await refused(db, company, name, company.owner, *period) == ("PT400", "report.period_invalid")


async def test_an_unknown_time_zone_is_named(db: Connection, company: Company) -> None:
    period = (dt.date(2026, 1, 1), dt.date(2026, 1, 1), "Mars/Olympus")
    assert await refused(db, company, "sales_by_day", company.owner, *period) == (
        "PT400",
        "report.time_zone_unknown",
    )


# 400 tenants with 150 orders, levels and movements each, two years ago; the first sold one thing yesterday.
FILL: LiteralString = """
    insert into public.tenants (slug, name) select 'tenant-' || n, 'T' from generate_series(1, 400) n;
    insert into public.locations (tenant_id, code, name) select id, 'MAIN', 'Main' from public.tenants;
    insert into public.products (tenant_id, sku, name)
    select t.id, 'SKU-' || n, 'Product' from public.tenants t, generate_series(1, 150) n;
    insert into public.stock_levels (tenant_id, product_id, location_id, on_hand, created_at)
    select p.tenant_id, p.id, l.id, 5, now() - interval '3 years'
    from public.products p join public.locations l on l.tenant_id = p.tenant_id;
    insert into public.stock_movements (tenant_id, level_id, level_version, kind, quantity,
      on_hand_after, reserved_after, created_at)
    select s.tenant_id, s.id, 1, 'receive', 5, 5, 0, now() - interval '2 years' from public.stock_levels s;
    insert into public.orders (tenant_id, number, status, currency, net_total, tax_total, total,
      paid_total, quantity, paid_at)
    select t.id, 'A-' || n, 'paid', 'USD', 1, 0, 1, 1, 1, now() - interval '2 years'
    from public.tenants t, generate_series(1, 150) n;
    insert into public.order_lines (tenant_id, order_id, position, product_id, sku, name, unit_price,
      quantity, net_total, tax_total, total)
    select o.tenant_id, o.id, 1, gen_random_uuid(), 'S', 'P', 1, 1, 1, 0, 1 from public.orders o;
    analyze;
"""


async def test_a_report_costs_its_tenant_and_its_period(
    database: Database, db: Connection, company: Company
) -> None:
    await (await connect_for_bulk(database)).execute(FILL)
    tenant = await value(db, "select id from public.tenants where slug = 'tenant-1'")
    await db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, 'manager')",
        (tenant, company.owner),
    )
    whole = await value(
        db,
        "select sum(relpages) from pg_class where relname in ('orders', 'stock_movements', 'stock_levels')",
    )
    assert whole > 3000
    period: LiteralString = "(%s, current_date - 30, current_date)"
    async with acting_as(db, company.owner):
        sales: LiteralString = "select * from public.sales_by_day" + period
        await pages(db, sales, tenant)  # the first call reads the catalogue
        assert await pages(db, sales, tenant) < 100
        for name in ("stock_turnover", "stock_out_history", "slow_movers"):
            query: LiteralString = "select * from public." + name + period
            await pages(db, query, tenant)
            assert await pages(db, query, tenant) < whole / 3, name
