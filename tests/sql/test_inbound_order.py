"""Events of one order happen as they occurred, whatever becomes of their jobs, and none waits for ever."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member
from tests.sql.inbound import Event, apply_told, event, receive_event, snooze_next, work_events
from tests.sql.ordering import Shop, open_shop, place, wants

STATUS = "select status from public.orders"
KEPT = "select event_id, status from public.inbound_webhooks order by event_id"


@pytest.fixture
async def shop(db: Connection, company: Company) -> Shop:
    await stop_clock(db)
    return await open_shop(db, company)


async def placed(db: Connection, company: Company, shop: Shop) -> str:
    return str((await place(db, company, [wants(shop.shirt, 2)]))["number"])


async def send(
    db: Connection, company: Company, it: Event, at: str = "10:00:00", expected: str = "queued"
) -> None:
    await move_clock(db, dt.timedelta(milliseconds=1))
    assert await receive_event(db, company, "order", it | {"timestamp": f"2026-11-20T{at}Z"}) == expected


async def test_one_that_is_tried_again_is_not_overtaken(db: Connection, company: Company, shop: Shop) -> None:
    number = await placed(db, company, shop)
    await send(db, company, event("order.paid", "e-1", number=number))
    await send(db, company, event("order.shipped", "e-2", number=number))
    await snooze_next(db, 30)
    assert await work_events(db) == ["queued"]
    await move_clock(db, dt.timedelta(seconds=5))
    assert await work_events(db) == ["queued"]
    await move_clock(db, dt.timedelta(seconds=30))
    await work_events(db)  # whichever is first
    await move_clock(db, dt.timedelta(seconds=10))
    await work_events(db)
    assert await rows(db, KEPT) == [("e-1", "done"), ("e-2", "done")]
    assert await value(db, STATUS) == "shipped"


@pytest.mark.parametrize("at", ["10:00:01", "10:00:00"])
async def test_one_that_comes_before_its_turn_is_put_off(
    db: Connection, company: Company, shop: Shop, at: str
) -> None:
    """Also within one second of the sender's clock, where time does not tell who is first."""
    number = await placed(db, company, shop)
    await send(db, company, event("order.shipped", "e-2", number=number), at)
    await send(db, company, event("order.refunded", "e-3", number=number, amount=1), at)
    assert set(await work_events(db)) == {"queued"}
    assert set((await rpc(db, "adapter_health"))["inbound"].items()) >= {("queued", 2), ("rejected", 0)}
    await send(db, company, event("order.paid", "e-1", number=number))
    assert await work_events(db) == ["done"]
    for _ in range(3):
        await move_clock(db, dt.timedelta(seconds=10))
        await work_events(db)
    assert await rows(db, KEPT) == [("e-1", "done"), ("e-2", "done"), ("e-3", "done")]
    happened = "select event from public.order_history order by order_version"
    assert [name for name in await column(db, happened) if name != "place"] == ["pay", "ship", "refund"]


async def test_what_occurred_first_happens_first_though_it_came_last(
    db: Connection, company: Company, shop: Shop
) -> None:
    """Both are legal; the other way round the refund would be of an order that was never shipped."""
    number = await placed(db, company, shop)
    await send(db, company, event("order.paid", "e-1", number=number))
    assert await work_events(db) == ["done"]
    await send(db, company, event("order.refunded", "e-3", number=number), "10:00:02")
    await send(db, company, event("order.shipped", "e-2", number=number), "10:00:01")
    await work_events(db)
    await move_clock(db, dt.timedelta(seconds=5))
    await work_events(db)
    assert await rows(db, KEPT) == [("e-1", "done"), ("e-2", "done"), ("e-3", "done")]
    happened = "select event from public.order_history order by order_version"
    assert [name for name in await column(db, happened) if name != "place"] == ["pay", "ship", "refund"]


async def test_one_that_is_put_off_holds_no_other_sender_up_and_is_refused_in_the_end(
    db: Connection, company: Company, shop: Shop
) -> None:
    number = await placed(db, company, shop)
    clerk = await add_member(db, company, "clerk")
    await send(db, company, event("order.shipped", "e-1", number=number))
    assert await work_events(db) == ["queued"]
    [early] = await column(db, "select id from public.inbound_webhooks")
    it = event("order.cancelled", "e-2", number=number) | {"timestamp": "2026-11-20T10:00:09Z"}
    assert await receive_event(db, company, "order", it, clerk) == "queued"
    assert await work_events(db) == ["done"]
    # what is cancelled will never be shipped
    assert (await apply_told(db, early, company.owner))["status"] == "rejected"

    number = await placed(db, company, shop)
    await send(db, company, event("order.shipped", "e-3", number=number))
    [late] = await column(db, "select id from public.inbound_webhooks where event_id = 'e-3'")
    waits = []
    for _ in range(10):
        waits.append((await apply_told(db, late, company.owner)).get("in_seconds"))
        await move_clock(db, dt.timedelta(seconds=61))
    assert waits == [1, 6, 10, 10, 10, 10, 10, 10, 10, 10]
    assert (await apply_told(db, late, company.owner))["status"] == "rejected"
    told = "select error ->> 'code' from public.inbound_webhooks where event_id in ('e-1', 'e-3')"
    assert await column(db, told) == ["order.transition_illegal"] * 2


async def test_an_event_whose_job_was_buried_is_queued_again(
    db: Connection, company: Company, shop: Shop
) -> None:
    number = await placed(db, company, shop)
    paid = event("order.paid", "e-1", number=number)
    await send(db, company, paid)
    await bury(db)
    assert await work_events(db) == []
    await send(db, company, paid, expected="(queued)")
    assert await work_events(db) == ["done"]
    await send(db, company, paid, expected="(done)")
    assert await work_events(db) == []

    await send(db, company, event("order.shipped", "e-2", number=number))
    await bury(db)
    assert (await rpc(db, "forget_webhooks"))["requeued"] == 0, "not yet: somebody may be at it"
    await move_clock(db, dt.timedelta(minutes=61))
    assert (await rpc(db, "forget_webhooks"))["requeued"] == 1
    assert (await rpc(db, "forget_webhooks"))["requeued"] == 0
    assert await column(db, "select state from queue.jobs where kind = 'inbound.apply'") == [
        "buried",
        "waiting",
    ]
    assert await work_events(db) == ["done"]
    assert await value(db, STATUS) == "shipped"


async def bury(db: Connection) -> None:
    claim = await rpc(db, "claim_jobs", p_worker="w", p_kinds=["inbound.apply"], p_limit=1)
    [job] = claim["jobs"]
    poison = {"attempt_id": job["attempt_id"], "outcome": "bury", "error": "not transient"}
    await rpc(db, "settle_jobs", p_results=[poison])


async def test_the_key_of_another_call_is_not_taken_for_an_event(
    db: Connection, company: Company, shop: Shop
) -> None:
    """The sender used the event's id as Idempotency-Key of a call of its own."""
    order = await place(db, company, [wants(shop.shirt, 2)])
    other = await place(db, company, [wants(shop.shirt, 1)])
    async with acting_as(db, company.owner):
        await call(
            db, "public", "order_event", p_tenant_id=company.tenant_id, p_order_id=other["id"], p_event="pay",
            p_expected_version=None, p_key="e-1",
        )  # fmt: skip
    await send(db, company, event("order.paid", "e-1", number=order["number"]))
    assert await work_events(db) == ["done"]
    assert await column(db, STATUS) == ["paid", "paid"]


async def test_what_the_database_refuses_has_a_code_of_ours(
    db: Connection, company: Company, shop: Shop
) -> None:
    number = await placed(db, company, shop)
    await db.execute(
        "alter table public.order_history add constraint odd"
        " check (event <> 'pay' or payload = '{}') not valid"
    )
    await send(db, company, event("order.paid", "e-1", number=number, payment="x"))
    assert await work_events(db) == ["rejected"]
    assert await column(db, "select error ->> 'code' from public.inbound_webhooks") == ["row.invalid"]
    assert "row.invalid" in await value(
        db, "select title from public.notifications where kind like 'inbound%%'"
    )


async def test_a_forgotten_customer_is_forgotten_in_events_too(
    db: Connection, company: Company, shop: Shop
) -> None:
    number = await placed(db, company, shop)
    paid = event("order.paid", "e-1", number=number, payer="ada@example.com")
    refund = event("order.refunded", "e-2", number=number, amount=1, to="ada@example.com")
    await send(db, company, paid)
    assert await work_events(db) == ["done"]
    await send(db, company, refund)
    orders = await column(db, "select id from public.orders")
    async with acting_as(db, company.owner):
        await call(db, "public", "redact_customer", p_tenant_id=company.tenant_id, p_order_ids=orders)
    assert (
        await value(db, "select count(*) from public.inbound_webhooks where data::text like '%%ada%%'") == 0
    )
    await send(db, company, paid, expected="(done)")
    assert await work_events(db) == ["done"]
    assert await value(db, "select refunded_total::int from public.orders") == 1
