"""Random walks: whatever legal events happen in whatever order, the books stay exact."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import rows, rpc
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_location, adjust, receive, stock_line
from tests.sql.inventory import assert_books_agree
from tests.sql.ordering import Order, Shop, happen, open_shop, place, stock, wants

STEPS = 60

# Orders whose sums are not those of their lines, or that have stock promised though nothing of them is open.
WRONG = """
select o.number from public.orders o
cross join lateral (
  select sum(l.quantity) as quantity, sum(l.fulfilled) as fulfilled, sum(l.cancelled) as cancelled,
    sum(l.returned) as returned, sum(l.total) as total
  from public.order_lines l where l.order_id = o.id
) l
cross join lateral (
  select coalesce(sum(r.quantity - r.shipped) filter (where r.status = 'committed'), 0) as committed,
    coalesce(sum(r.shipped), 0) as shipped
  from public.reservations r where r.order_id = o.id
) r
where (o.quantity, o.fulfilled, o.cancelled, o.returned, o.total)
    is distinct from (l.quantity, l.fulfilled, l.cancelled, l.returned, l.total)
  or r.shipped <> o.fulfilled
  or r.committed <> case
    when o.status in ('paid', 'partially_fulfilled') then o.quantity - o.fulfilled - o.cancelled
    when o.status = 'needs_review' then r.committed
    else 0 end
"""


class Walk:
    """A shop in which things happen; every choice is the seed's."""

    def __init__(self, db: Connection, shop: Shop, seed: int) -> None:
        self._db = db
        self._shop = shop
        self._dice = random.Random(seed)
        self._orders: dict[str, Order] = {}
        self.refused = 0

    async def step(self) -> None:
        kind = self._dice.choices(("place", "move", "goods", "time"), (3, 10, 2, 1))[0]
        try:
            await getattr(self, f"_{kind}")()
        except psycopg.Error as refused:
            if not (refused.sqlstate or "").startswith("PT4"):
                raise
            self.refused += 1

    async def close_everything(self) -> None:
        for order in list(self._orders.values()):
            ends = [event for event in ("cancel", "ship") if event in order["legal_events"]]
            if ends:
                await happen(self._db, self._shop.company, order, ends[0])

    async def _place(self) -> None:
        lines = [wants(self._product(), self._dice.randint(1, 4)) for _ in range(self._dice.randint(1, 3))]
        self._keep(await place(self._db, self._shop.company, lines))

    async def _move(self) -> None:
        if not self._orders:
            return
        order = self._dice.choice(list(self._orders.values()))
        if not order["legal_events"]:
            return
        event = self._dice.choice(order["legal_events"])
        self._keep(await happen(self._db, self._shop.company, order, event, **self._payload(order, event)))

    async def _goods(self) -> None:
        change = receive if self._dice.random() < 0.8 else adjust
        quantity = self._dice.randint(1, 9) * (1 if change is receive else -1)
        line = stock_line(self._product(), self._shop.location, quantity)
        await change(self._db, self._shop.company, [line])

    async def _time(self) -> None:
        await move_clock(self._db, dt.timedelta(minutes=self._dice.choice((5, 20))))
        if self._dice.random() < 0.5:
            await rpc(self._db, "sweep_reservations")

    def _payload(self, order: Order, event: str) -> dict[str, Any]:
        if self._dice.random() < 0.3:
            return {}
        if event == "refund":
            return {"amount": round(self._dice.uniform(0.01, 10), 2)}
        if event in ("fulfil", "return"):
            line = self._dice.choice(order["lines"])
            return {"lines": [{"line_id": line["id"], "quantity": self._dice.randint(1, 3)}]}
        return {}

    def _product(self) -> uuid.UUID:
        return self._dice.choice((self._shop.shirt, self._shop.sock))

    def _keep(self, order: Order) -> None:
        self._orders[order["id"]] = order


@pytest.mark.parametrize("seed", range(8))
async def test_the_books_stay_exact(db: Connection, company: Company, seed: int) -> None:
    await stop_clock(db)
    shop = await open_shop(db, company)
    far = await add_location(db, company, "FAR")
    await receive(db, company, [stock_line(shop.shirt, far, 5)])
    walk = Walk(db, shop, seed)
    for _ in range(STEPS):
        await walk.step()
        await assert_books_agree(db)
        assert await rows(db, WRONG) == []
    assert walk.refused < STEPS / 2, "most of the steps happen"
    await walk.close_everything()
    assert [reserved for _, reserved in (await stock(db, shop.shirt), await stock(db, shop.sock))] == [0, 0]
    await assert_books_agree(db)
