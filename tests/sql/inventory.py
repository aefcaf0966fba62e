"""Reservations and the other commands of inventory, as the PMS calls them, and what they leave behind."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, value
from tests.sql.company import Company, add_location, add_product, receive, stock_line

Line = dict[str, object]


@dataclass(frozen=True)
class Shelf:
    """One product at one location of a company, with its level."""

    company: Company
    product: uuid.UUID
    location: uuid.UUID

    def line(self, quantity: object, *, anywhere: bool = False) -> Line:
        line = stock_line(self.product, self.location, quantity)
        return {**line, "location_id": None} if anywhere else line


async def add_shelf(
    db: Connection, company: Company, on_hand: int, *, sku: str = "HOT", location: uuid.UUID | None = None
) -> Shelf:
    product = await add_product(db, company, sku)
    shelf = Shelf(company, product, location or await add_location(db, company, f"AT-{sku}"))
    if on_hand:
        await receive(db, company, [shelf.line(on_hand)])
    return shelf


async def command(
    db: Connection, company: Company, name: str, *, who: uuid.UUID | None = None, **arguments: Any
) -> Any:
    """`public.<name>(p_tenant_id, …)` as `who`, by default the owner; arguments without their `p_`."""
    async with acting_as(db, who or company.owner):
        sent = {f"p_{argument}": given for argument, given in arguments.items()}
        return await call(db, "public", name, p_tenant_id=company.tenant_id, **sent)


async def reserve(
    db: Connection, company: Company, lines: Sequence[Line], key: str | None = None, **arguments: Any
) -> list[dict[str, Any]]:
    """`reserve_stock`: the reservations."""
    answer = await command(db, company, "reserve_stock", lines=list(lines), key=key, **arguments)
    made: list[dict[str, Any]] = answer["reservations"]
    return made


async def settle(
    db: Connection, company: Company, name: str, reservations: Sequence[dict[str, Any]], **arguments: Any
) -> list[dict[str, Any]]:
    """`<name>_reservation` of all of them: extend, release, commit or ship."""
    ids = [uuid.UUID(reservation["reservation_id"]) for reservation in reservations]
    answer = await command(db, company, f"{name}_reservation", reservation_ids=ids, **arguments)
    settled: list[dict[str, Any]] = answer["reservations"]
    return settled


async def level(
    db: Connection, shelf: Shelf, columns: LiteralString = "on_hand, reserved"
) -> tuple[Any, ...]:
    query: LiteralString = (
        "select " + columns + " from public.stock_levels where (product_id, location_id) = (%s, %s)"
    )
    return (await rows(db, query, shelf.product, shelf.location))[0]


async def set_limits(db: Connection, shelf: Shelf, **limits: int) -> None:
    """As PATCH stock_levels does: safety, reorder_point, backorder_limit."""
    async with acting_as(db, shelf.company.owner):
        for name, limit in limits.items():
            assert name in ("safety", "reorder_point", "backorder_limit")
            await db.execute(
                b"update public.stock_levels set "
                + name.encode()
                + b" = %s where (product_id, location_id) = (%s, %s)",
                (limit, shelf.product, shelf.location),
            )


PROOF = """
select s.id, s.on_hand, s.reserved, l.on_hand, l.reserved, r.open
from public.stock_levels s
cross join lateral (
  select coalesce(sum(m.quantity), 0) as on_hand, coalesce(sum(m.reserved_quantity), 0) as reserved,
    (array_agg(m.on_hand_after order by m.id desc))[1] as on_hand_after,
    (array_agg(m.reserved_after order by m.id desc))[1] as reserved_after
  from public.stock_movements m where m.level_id = s.id
) l
cross join lateral (
  select coalesce(sum(r.quantity - r.shipped), 0) as open from public.reservations r
  where r.level_id = s.id and r.status in ('held', 'committed')
) r
where (s.on_hand, s.reserved, s.reserved) is distinct from (l.on_hand, l.reserved, r.open)
  or (s.on_hand, s.reserved) is distinct from (coalesce(l.on_hand_after, 0), coalesce(l.reserved_after, 0))
"""


async def assert_books_agree(db: Connection) -> None:
    """Ledger, levels and reservations say the same; written apart from run_stock_proof on purpose."""
    assert await rows(db, PROOF) == []
    broken = "select count(*) from public.stock_levels where reserved > on_hand + backorder_limit + shortfall"
    assert await value(db, broken) == 0
