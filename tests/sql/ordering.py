"""Orders as the PMS places and moves them, and the small shop they are placed in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.databases import Connection
from tests.sql.ask import rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_location, adjust, receive, stock_line
from tests.sql.inventory import command

Order = dict[str, Any]
WHATEVER = object()
"""The version to send is the order's own."""


@dataclass(frozen=True)
class Shop:
    """A company with one location, and ten of each of its products."""

    company: Company
    location: uuid.UUID
    shirt: uuid.UUID
    sock: uuid.UUID


async def add_priced(
    db: Connection, company: Company, sku: str, price: str, currency: str = "USD", status: str = "active"
) -> uuid.UUID:
    product: uuid.UUID = await value(
        db,
        "insert into public.products (tenant_id, sku, name, status, price, currency)"
        " values (%s, %s, initcap(%s), %s, %s, %s) returning id",
        company.tenant_id,
        sku,
        sku,
        status,
        price,
        currency,
    )
    return product


async def open_shop(db: Connection, company: Company) -> Shop:
    location = await add_location(db, company)
    shirt = await add_priced(db, company, "SHIRT", "12.50")
    sock = await add_priced(db, company, "SOCK", "3.99")
    await receive(db, company, [stock_line(product, location, 10) for product in (shirt, sock)])
    return Shop(company, location, shirt, sock)


def wants(product: uuid.UUID, quantity: object, **more: object) -> dict[str, object]:
    return {"product_id": str(product), "quantity": quantity, **more}


async def place(
    db: Connection, company: Company, lines: Sequence[dict[str, object]], **arguments: Any
) -> Order:
    """`place_order`: key, customer, reserve_for and who as named arguments."""
    order: Order = await command(db, company, "place_order", lines=list(lines), **arguments)
    return order


async def happen(
    db: Connection,
    company: Company,
    order: Order,
    event: str,
    *,
    version: object = WHATEVER,
    who: uuid.UUID | None = None,
    key: str | None = None,
    **payload: object,
) -> Order:
    """`order_event` at the version of `order`, unless another is given; the rest is the payload."""
    changed: Order = await command(
        db,
        company,
        "order_event",
        who=who,
        order_id=order["id"],
        event=event,
        expected_version=order["version"] if version is WHATEVER else version,
        key=key,
        payload=payload,
    )
    return changed


def part(order: Order, quantity: int, line: int = 0, **more: object) -> list[dict[str, object]]:
    """payload.lines of one line of the order."""
    return [{"line_id": order["lines"][line]["id"], "quantity": quantity, **more}]


async def stock(db: Connection, product: uuid.UUID) -> tuple[int, int]:
    """(on_hand, reserved) of a product, everywhere."""
    query = "select sum(on_hand)::int, sum(reserved)::int from public.stock_levels where product_id = %s"
    on_hand, reserved = (await rows(db, query, product))[0]
    return on_hand, reserved


async def let_holds_expire(db: Connection, order: Order) -> None:
    """The clock goes on to where none of the order's holds lasts; nobody sweeps."""
    if await value(db, "select to_regclass('private.test_clock') is null"):
        await stop_clock(db)
    left = await value(
        db,
        "select max(expires_at) - private.now() + interval '1 second'"
        " from public.reservations where order_id = %s",
        order["id"],
    )
    await move_clock(db, left)


async def order_in(db: Connection, shop: Shop, status: str) -> Order:
    """An order of five shirts that came to this status; of needs_review, with the goods there again."""
    company = shop.company
    order = await place(db, company, [wants(shop.shirt, 5)])
    if status == "placed":
        return order
    if status == "needs_review":
        await let_holds_expire(db, order)
        await rpc(db, "sweep_reservations")
        await adjust(db, company, [stock_line(shop.shirt, shop.location, -7)])
        order = await happen(db, company, order, "pay")
        await receive(db, company, [stock_line(shop.shirt, shop.location, 7)])
        return order
    order = await happen(db, company, order, "pay")
    if status == "partially_fulfilled":
        return await happen(db, company, order, "fulfil", lines=part(order, 2))
    ways = {
        "paid": (),
        "fulfilled": ("fulfil",),
        "shipped": ("ship",),
        "cancelled": ("cancel",),
        "refunded": ("fulfil", "refund"),
        "returned": ("fulfil", "return"),
    }
    for event in ways[status]:
        order = await happen(db, company, order, event)
    return order
