"""What a storm of buyers sells: hot products at several places; and a proof of the books."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.people import Tenant

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Line = Mapping[str, object]

PLACES = 3
BATTERY = 0
"""The product that every bundle has in it."""

# Of each level: what it says, the sums of its ledger, what reservations wait for, what was given and got.
BOOKS = """
select s.on_hand, s.reserved, s.backorder_limit + s.shortfall, l.on_hand, l.reserved, r.waiting, r.given,
  l.received
from public.stock_levels s
cross join lateral (
  select coalesce(sum(m.quantity), 0)::bigint as on_hand,
    coalesce(sum(m.reserved_quantity), 0)::bigint as reserved,
    coalesce(sum(m.quantity) filter (where m.kind = 'receive'), 0)::bigint as received
  from public.stock_movements m where m.level_id = s.id
) l
cross join lateral (
  select coalesce(sum(r.quantity - r.shipped) filter (where o.open), 0)::bigint as waiting,
    coalesce(sum(case when o.open then r.quantity else r.shipped end), 0)::bigint as given
  from public.reservations r
  cross join lateral (select r.status in ('held', 'committed') as open) o
  where r.level_id = s.id
) r
where s.tenant_id = %s
"""
# The ledger as a chain: each movement starts where the one before it ended.
BREAKS = """
select count(*) from (
  select (m.on_hand_after - m.quantity, m.reserved_after - m.reserved_quantity) is distinct from
    (lag(m.on_hand_after, 1, 0::bigint) over w, lag(m.reserved_after, 1, 0::bigint) over w) as broken
  from public.stock_movements m where m.tenant_id = %s
  window w as (partition by m.level_id order by m.level_version)
) c where c.broken
"""


@dataclass(frozen=True)
class Market:
    tenant: Tenant
    products: Sequence[uuid.UUID]
    places: Sequence[uuid.UUID]

    @property
    def claims(self) -> str:
        return json.dumps({"role": "authenticated", "sub": str(self.tenant.owner.id)})

    def cart(self, chance: random.Random) -> list[Line]:
        """One product, or a bundle of two lines that share the battery, here or wherever there is some."""
        if chance.random() < 0.3:
            chosen = [BATTERY, chance.randrange(1, len(self.products)), BATTERY]
        else:
            chosen = [chance.randrange(len(self.products))]
        place = str(chance.choice(self.places)) if chance.random() < 0.5 else None
        return [
            {"product_id": str(self.products[n]), "location_id": place, "quantity": chance.randint(1, 2)}
            for n in chosen
        ]


async def open_market(db_url: str, tenant: Tenant, products: Sequence[uuid.UUID], *, stock: int) -> Market:
    """`stock` of each product at each place."""
    async with await connect(db_url) as connection:
        cursor = await connection.execute(
            "insert into public.locations (tenant_id, code, name)"
            " select %s, 'P' || n, 'Place ' || n from generate_series(1, %s) n returning id",
            (tenant.id, PLACES),
        )
        market = Market(tenant, products, [row[0] for row in await cursor.fetchall()])
        await act_as_owner(connection, market)
        lines = [
            {"product_id": str(product), "location_id": str(place), "quantity": stock}
            for product in products
            for place in market.places
        ]
        await connection.execute("select public.receive_stock(%s, %s)", (tenant.id, Jsonb(lines)))
    return market


async def connect(db_url: str) -> Connection:
    return await psycopg.AsyncConnection.connect(db_url, autocommit=True, connect_timeout=30)


async def act_as_owner(connection: Connection, market: Market) -> None:
    """For the whole session, as PostgREST does it for a transaction."""
    await connection.execute("select set_config('request.jwt.claims', %s, false)", (market.claims,))
    await connection.execute("set role authenticated")


async def faults_in_the_books(db_url: str, market: Market) -> tuple[int, list[str]]:
    """How many units were sold beyond what was received, and everything that does not add up."""
    async with await connect(db_url) as connection:
        levels = await (await connection.execute(BOOKS, (market.tenant.id,))).fetchall()
        breaks = await (await connection.execute(BREAKS, (market.tenant.id,))).fetchone()
    oversold, faults = 0, []
    for on_hand, reserved, slack, booked, promised, waiting, given, received in levels:
        oversold += max(0, given - received)
        if on_hand != booked:
            faults.append(f"a level has {on_hand}, its ledger {booked}")
        if not reserved == promised == waiting:
            faults.append(f"a level promises {reserved}, its ledger {promised}, its reservations {waiting}")
        if reserved > on_hand + slack:
            faults.append(f"a level promises {reserved} of {on_hand}")
    if breaks is None or breaks[0]:
        faults.append(f"{breaks and breaks[0]} movements do not start where the one before ended")
    if oversold:
        faults.append(f"{oversold} units were sold that were never received")
    return oversold, faults
