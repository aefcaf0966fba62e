"""Who may see and move orders: five roles, strangers, and people of two tenants."""

from __future__ import annotations

import uuid
from typing import LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.company import Company, add_member, found_company
from tests.sql.inventory import command
from tests.sql.ordering import Order, Shop, happen, open_shop, place, stock, wants

TABLES: list[LiteralString] = ["orders", "order_lines", "order_history"]


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    return await open_shop(db, company)


@pytest.fixture
async def order(db: Connection, shop: Shop) -> Order:
    return await place(db, shop.company, [wants(shop.shirt, 1)], customer={"name": "Ann"})


async def seen_by(db: Connection, who: uuid.UUID) -> list[int]:
    async with acting_as(db, who):
        return [len(await rows(db, "select id from public." + table)) for table in TABLES]


@pytest.mark.parametrize("role", ["owner", "manager", "clerk", "integration"])
async def test_who_sells_places_and_moves_orders(db: Connection, shop: Shop, role: str) -> None:
    who = shop.company.owner if role == "owner" else await add_member(db, shop.company, role)
    order = await place(db, shop.company, [wants(shop.shirt, 1)], who=who)
    paid = await happen(db, shop.company, order, "pay", who=who)
    assert await seen_by(db, who) == [1, 1, 2]
    assert paid["status"] == "paid"
    assert set(await column(db, "select actor from public.order_history")) == {who}


async def test_a_viewer_looks_on(db: Connection, shop: Shop, order: Order) -> None:
    viewer = await add_member(db, shop.company, "viewer")
    assert await seen_by(db, viewer) == [1, 1, 1]
    with pytest.raises(psycopg.Error, match=r"access\.denied") as refused:
        await place(db, shop.company, [wants(shop.shirt, 1)], who=viewer)
    assert refused.value.sqlstate == "PT403"
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        await happen(db, shop.company, order, "pay", who=viewer)
    async with acting_as(db, viewer):
        assert await rows(db, "update public.orders set customer = '{}' returning id") == []


async def test_another_tenants_order_is_not_found(db: Connection, shop: Shop, order: Order) -> None:
    rival = await found_company(db, "rival")
    assert await seen_by(db, rival.owner) == [0, 0, 0]
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await happen(db, shop.company, order, "pay", who=rival.owner)
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await place(db, shop.company, [wants(shop.shirt, 1)], who=rival.owner)
    for sent in (order, {**order, "id": str(uuid.uuid4())}):
        with pytest.raises(psycopg.Error, match=r"order\.not_found") as refused:
            await happen(db, rival, sent, "pay")
        assert refused.value.sqlstate == "PT404"
    # One who belongs to both still needs the right tenant.
    await db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, 'owner')",
        (rival.tenant_id, shop.company.owner),
    )
    with pytest.raises(psycopg.Error, match=r"order\.not_found"):
        await happen(db, rival, order, "pay", who=shop.company.owner)
    assert await stock(db, shop.shirt) == (10, 1)


async def test_anon_reaches_nothing(db: Connection, order: Order) -> None:
    calls: list[LiteralString] = [
        "select id from public.orders",
        "select public.place_order(gen_random_uuid(), '[]')",
        "select public.order_event(gen_random_uuid(), gen_random_uuid(), 'pay', 1)",
    ]
    for call in calls:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, role="anon"):
                await db.execute(call)


async def test_rows_change_by_commands_only(db: Connection, shop: Shop, order: Order) -> None:
    changes: list[LiteralString] = [
        "update public.orders set status = 'paid'",
        "update public.orders set total = 0",
        "delete from public.orders",
        "insert into public.orders select * from public.orders",
        "update public.order_lines set fulfilled = 1",
        "delete from public.order_lines",
        "insert into public.order_lines select * from public.order_lines",
        "insert into public.order_history (event) values ('pay')",
        "delete from public.order_history",
        "select from private.order_transitions",
        "update private.order_counters set last = 0",
    ]
    for change in changes:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, shop.company.owner):
                await db.execute(change)


async def test_a_clerk_corrects_the_customer_at_the_version_read(
    db: Connection, shop: Shop, order: Order
) -> None:
    clerk = await add_member(db, shop.company, "clerk")
    correct: LiteralString = "update public.orders set customer = %s, version = %s returning version"
    async with acting_as(db, clerk):
        assert await value(db, correct, Jsonb({"name": "Anna"}), 1) == 2
    with pytest.raises(psycopg.Error, match=r"version\.stale"):
        async with acting_as(db, clerk):
            await db.execute(correct, (Jsonb({"name": "Anne"}), 1))
    with pytest.raises(psycopg.Error, match=r"version\.stale"):
        await happen(db, shop.company, order, "pay")
    assert (await happen(db, shop.company, {**order, "version": 2}, "pay"))["customer"] == {"name": "Anna"}


async def test_events_and_payloads_have_a_form(db: Connection, shop: Shop, order: Order) -> None:
    for event in ("paid", "", None):
        with pytest.raises(psycopg.Error, match=r"order\.event_unknown"):
            await command(
                db, shop.company, "order_event", order_id=order["id"], event=event, expected_version=1
            )
    for payload in (Jsonb([]), Jsonb(None), None, {"note": "x" * 70_000}):
        with pytest.raises(psycopg.Error, match=r"order\.payload_invalid"):
            await command(
                db, shop.company, "order_event",
                order_id=order["id"], event="pay", expected_version=1, payload=payload,
            )  # fmt: skip


async def test_the_service_role_acts_for_the_project(db: Connection, shop: Shop, order: Order) -> None:
    async with acting_as(db, role="service_role"):
        query: LiteralString = "select public.order_event(%s, %s, 'pay', 1) ->> 'status'"
        assert await value(db, query, shop.company.tenant_id, order["id"]) == "paid"
    assert (await column(db, "select actor from public.order_history order by id"))[-1] is None


async def test_orders_tell_their_legal_events_and_are_published(
    db: Connection, company: Company, order: Order
) -> None:
    async with acting_as(db, company.owner):
        assert await value(db, "select o.legal_events from public.orders o") == ["cancel", "pay"]
    published = "select count(*) from pg_publication_tables where tablename = 'orders'"
    assert await value(db, published) == 1


async def test_a_reservation_names_an_order_of_its_tenant(db: Connection, shop: Shop, order: Order) -> None:
    rival = await open_shop(db, await found_company(db, "rival"))
    line = {**wants(rival.shirt, 1), "location_id": None}
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="reservations_order"):
        await command(db, rival.company, "reserve_stock", lines=[line], order_id=order["id"])
