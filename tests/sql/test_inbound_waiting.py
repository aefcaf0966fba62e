"""What is not there yet is waited for, in turn, and what was given up is tried again when it is sent anew."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import LiteralString

import pytest

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_location, add_member, add_product, receive, stock_line
from tests.sql.inbound import Event, apply_told, event, receive_event, work_events
from tests.sql.inbox import PRODUCT, work_off
from tests.sql.ordering import Shop, open_shop, place, wants

KEPT: LiteralString = (
    "select event_id, status, error ->> 'code' from public.inbound_webhooks order by event_id"
)
TOLD: LiteralString = "select count(*) from public.notifications where kind = 'inbound.rejected'"


@pytest.fixture
async def clock(db: Connection) -> None:
    await stop_clock(db)


async def later(db: Connection, seconds: float) -> None:
    await move_clock(db, dt.timedelta(seconds=seconds))


async def send(db: Connection, company: Company, kind: str, it: Event, expected: str = "queued") -> None:
    await later(db, 0.001)
    assert await receive_event(db, company, kind, it) == expected, it["id"]


@pytest.mark.usefixtures("clock")
async def test_a_change_of_a_product_that_is_still_to_be_made_waits_for_it(
    db: Connection, company: Company
) -> None:
    made = event("product.created", "e-1", id=str(uuid.uuid4()), version=1, sku="BAG", name="Bag", price=10)
    await send(db, company, "product", made)
    changed = event("product.updated", "e-2", sku="BAG", version=2, name="Big bag")
    await send(db, company, "product", changed)
    await later(db, 2)
    assert await work_events(db) == ["queued"]
    assert await work_off(db, company) == ["applied"]
    await later(db, 2)
    assert await work_events(db) == ["done"]
    assert (await work_off(db, company))[-1] == "applied"
    assert await rows(db, PRODUCT) == [("Big bag", 10, {}, 2)]
    await send(db, company, "product", changed, "(queued)")
    assert await value(db, TOLD) == 0


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("made_by", ["the same sender", "somebody"])
@pytest.mark.parametrize("versions", [True, False])
async def test_none_overtakes_one_that_waits(
    db: Connection, company: Company, made_by: str, versions: bool
) -> None:
    """Whatever it calls the product: the newer one would make the older one stale."""
    new = uuid.uuid4()

    def word(number: int, **data: object) -> Event:
        it = event("product.updated", f"e-{number}", **data, **({"version": number} if versions else {}))
        return it | {"timestamp": f"2026-11-20T10:00:0{number}Z"}

    if made_by == "the same sender":
        await send(db, company, "product", word(1, id=str(new), sku="BAG", name="Bag"))
    await send(db, company, "product", word(2, sku="BAG", name="Big bag", price=7))
    if made_by == "the same sender":
        # it is not there, and yet it is known what the two are about
        await send(db, company, "product", word(3, id=str(new), name="Bigger bag"))
        await work_off(db, company)
    else:
        add = "insert into public.products (id, tenant_id, sku, name) values (%s, %s, 'BAG', 'Bag')"
        await db.execute(add, (new, company.tenant_id))
        await send(db, company, "product", word(3, id=str(new), name="Bigger bag"))
    await send(db, company, "product", word(4, sku="BAG", price=8))
    for _ in range(3):
        await later(db, 5)
        await work_events(db)
    taken = "select message_id from public.inbox_messages where status = 'queued' order by sender_version"
    assert (await column(db, taken))[-3:] == ["e-2", "e-3", "e-4"]
    assert {status for _, status, _ in await rows(db, KEPT)} == {"queued"}, "none is stale"
    assert await value(db, "select count(*) from queue.jobs where kind = 'inbound.apply'") == 0


@pytest.mark.usefixtures("clock")
async def test_amounts_of_a_level_that_is_still_to_be_made_count(db: Connection, company: Company) -> None:
    product = str(await add_product(db, company, "BAG"))
    words = [
        {"sku": "BAG", "location": "MOON", "on_hand": 40},
        {"product_id": product, "location": "MOON", "on_hand": 37},
        {"sku": "BAG", "location": "MOON", "on_hand": 30},
    ]
    for number, data in enumerate(words[:2]):
        await send(db, company, "inventory", event("inventory.updated", f"e-{number}", **data))
    await receive(db, company, [stock_line(uuid.UUID(product), await add_location(db, company, "MOON"), 50)])
    level = await value(db, "select id from public.stock_levels")
    await send(db, company, "inventory", event("inventory.updated", "e-2", **words[2]))
    last = event("inventory.updated", "e-3", level_id=str(level), on_hand=29)
    await send(db, company, "inventory", last)
    for _ in range(4):
        await later(db, 5)
        await work_events(db)
    await work_off(db, company)
    assert await value(db, "select on_hand from public.stock_levels") == 39, "11 less, as over there"


@pytest.mark.usefixtures("clock")
async def test_an_order_that_comes_late_hears_what_was_said_in_the_order_of_its_saying(
    db: Connection, company: Company
) -> None:
    shop = await open_shop(db, company)
    other = await place(db, company, [wants(shop.shirt, 1)])
    number = other["number"][:-1] + str(int(other["number"][-1]) + 1)
    await send(db, company, "order", event("order.paid", "e-1", number=number))
    await send(db, company, "order", event("order.cancelled", "e-2", number=number))
    assert await work_events(db) == ["queued"] * 2
    assert (await rpc(db, "adapter_health"))["inbound"]["queued"] == 2
    late = await place(db, company, [wants(shop.shirt, 1)])
    assert late["number"] == number
    # at the same moment by its clock, and later than those that were not found
    await send(db, company, "order", event("order.shipped", "e-3", order_id=late["id"]))
    await work_events(db)
    for _ in range(3):
        await later(db, 5)
        await work_events(db)
    assert await rows(db, KEPT) == [
        ("e-1", "done", None), ("e-2", "done", None), ("e-3", "rejected", "order.transition_illegal"),
    ]  # fmt: skip


@pytest.mark.usefixtures("clock")
async def test_another_sender_s_event_waits_for_one_that_was_not_found(
    db: Connection, company: Company
) -> None:
    shop = await open_shop(db, company)
    clerk = await add_member(db, company, "clerk")
    other = await place(db, company, [wants(shop.shirt, 1)])
    number = other["number"][:-1] + str(int(other["number"][-1]) + 1)
    await send(db, company, "order", event("order.paid", "e-1", number=number))
    assert await work_events(db) == ["queued"]
    await place(db, company, [wants(shop.shirt, 1)])
    it = event("order.cancelled", "e-2", number=number) | {"timestamp": "2026-11-20T10:00:09Z"}
    assert await receive_event(db, company, "order", it, clerk) == "queued"
    [cancelled] = await column(db, "select id from public.inbound_webhooks where event_id = 'e-2'")
    assert (await apply_told(db, cancelled, clerk))["status"] == "queued"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("product", {"sku": "BAG", "name": "Bag"}, "product.not_found"),
        ("inventory", {"sku": "BAG", "location": "MAIN", "safety": 3}, "stock.not_found"),
        ("order", {"number": "A-000001"}, "order.not_found"),
    ],
)
async def test_what_was_given_up_is_tried_again_when_it_is_sent_again(
    db: Connection, company: Company, kind: str, data: dict[str, object], code: str
) -> None:
    it = event("order.paid" if kind == "order" else f"{kind}.updated") | {"data": data}
    await send(db, company, kind, it)
    tries = 0
    for _ in range(59):
        tries += len(await work_events(db))
        await later(db, 10)
    assert 20 < tries < 59, "less and less often"
    assert await rows(db, KEPT) == [("e-1", "queued", None)]
    await later(db, 30)
    assert await work_events(db) == ["rejected"]
    assert await rows(db, KEPT) == [("e-1", "rejected", code)]
    assert await value(db, TOLD) == 1

    await send(db, company, kind, it, "(queued)")
    shop = await open_shop(db, company)
    await db.execute("update public.products set sku = 'BAG' where id = %s", (shop.shirt,))
    await db.execute("update public.locations set code = 'MAIN'")
    await place(db, company, [wants(shop.shirt, 1)])
    for _ in range(3):
        await later(db, 10)
        await work_events(db)
    happened: dict[str, LiteralString] = {
        "product": "select edit -> 'name' ->> 'set' from public.sync_changes",
        "inventory": "select edit -> 'safety' ->> 'set' from public.sync_changes",
        "order": "select status from public.orders",
    }
    assert await column(db, happened[kind]) == [{"product": "Bag", "inventory": "3", "order": "paid"}[kind]]
    await send(db, company, kind, it, "(done)" if kind == "order" else "(queued)")
    assert await work_events(db) == []


async def test_what_the_inbox_found_gone_is_asked_again(db: Connection, company: Company) -> None:
    """Its message was kept as refused there, under the id of the event."""
    product = await add_product(db, company, "BAG", "Bag")
    await db.execute("delete from public.products")
    it = event("product.updated", id=str(product), sku="BAG", name="Big bag")
    assert await receive_event(db, company, "product", it) == "rejected"
    assert await receive_event(db, company, "product", it) == "(rejected)"
    add = "insert into public.products (id, tenant_id, sku, name) values (%s, %s, 'BAG', 'Bag')"
    await db.execute(add, (product, company.tenant_id))
    assert await receive_event(db, company, "product", it) == "(queued)"
    assert len(await work_off(db, company)) == 1
    assert await column(db, "select status from public.inbox_messages") == ["queued"]


@pytest.mark.usefixtures("clock")
async def test_what_is_refused_for_another_reason_stays_refused(db: Connection, company: Company) -> None:
    it = event("product.updated", id=str(uuid.uuid4()), colour="red")
    await send(db, company, "product", it, "rejected")
    await db.execute("update public.inbound_webhooks set settled_at = '2026-01-01'")
    await send(db, company, "product", it, "(rejected)")
    assert await value(db, "select settled_at::date::text from public.inbound_webhooks") == "2026-01-01"


@pytest.mark.usefixtures("clock")
async def test_a_sender_that_speaks_of_what_is_not_here_keeps_no_more_than_500_waiting(
    db: Connection, company: Company
) -> None:
    await db.execute(
        "insert into public.inbound_webhooks"
        " (tenant_id, principal_id, event_id, kind, type, data, occurred_at, about, put_off_at)"
        " select %s, %s, 'x-' || n, 'product', 'product.updated', '{}', private.now(), 'sku ' || n,"
        " private.now() from generate_series(1, 499) n",
        (company.tenant_id, company.owner),
    )
    await send(db, company, "product", event("product.updated", "e-1", sku="BAG", name="Bag"))
    await send(db, company, "product", event("product.updated", "e-2", sku="CAP", name="Cap"), "rejected")
    # nobody else is held up, and those that wait go on waiting
    manager = await add_member(db, company, "manager")
    again = event("product.updated", "e-2", sku="CAP", name="Cap")
    assert await receive_event(db, company, "product", again, manager) == "queued"
    await later(db, 5)
    assert await work_events(db) == ["queued"] * 2


async def test_a_product_event_that_waits_is_not_forgotten_and_its_job_comes_back(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    await send(db, company, "product", event("product.updated", "e-1", sku="BAG", name="Bag"))
    await db.execute("delete from queue.jobs")
    await later(db, 31 * 86_400)
    told = await rpc(db, "forget_webhooks")
    assert (told["forgotten"], told["requeued"]) == (0, 1)
    assert await work_events(db) == ["rejected"]


async def test_an_event_is_applied_once_though_it_was_forgotten(db: Connection, company: Company) -> None:
    """A refund that comes again after a month, with whatever time, is still the same refund."""
    await stop_clock(db)
    shop: Shop = await open_shop(db, company)
    number = str((await place(db, company, [wants(shop.shirt, 2)]))["number"])
    other = str((await place(db, company, [wants(shop.shirt, 2)]))["number"])
    refund = event("order.refunded", "e-3", number=number, amount=5)
    for it in (
        event("order.paid", "e-1", number=number),
        event("order.shipped", "e-2", number=number),
        refund,
    ):
        await send(db, company, "order", it)
        assert await work_events(db) == ["done"]
    query: LiteralString = "select refunded_total::int from public.orders order by number"
    for days in (31, 400):
        await later(db, days * 86_400)
        assert (await rpc(db, "forget_webhooks"))["forgotten"] >= 1
        assert await column(db, "select event_id from public.inbound_webhooks") == []
        young = refund | {"timestamp": await value(db, "select private.now()::text")}
        await send(db, company, "order", refund if days == 31 else young)
        assert await work_events(db) == ["duplicate"]
        await send(db, company, "order", refund, "(duplicate)")
        assert await column(db, query) == [5, 0]
    # another order's, under the same id
    await later(db, 31 * 86_400)
    await rpc(db, "forget_webhooks")
    await send(db, company, "order", event("order.paid", "e-3", number=other))
    assert await work_events(db) == ["rejected"]
    assert (await rows(db, KEPT))[0][2] == "webhook.id_reused"


async def test_what_was_refused_did_not_happen(db: Connection, company: Company) -> None:
    """Its id is not taken for that of one that did."""
    await stop_clock(db)
    shop = await open_shop(db, company)
    number = str((await place(db, company, [wants(shop.shirt, 2)]))["number"])
    refund = event("order.refunded", number=number, amount=5)
    await send(db, company, "order", refund | {"data": refund["data"] | {"version": 7}})
    assert await work_events(db) == ["rejected"]
    await later(db, 31 * 86_400)
    await rpc(db, "forget_webhooks")
    paid = event("order.paid", "e-2", number=number)
    await send(db, company, "order", paid)
    assert await work_events(db) == ["done"]
    await send(db, company, "order", refund)
    assert await work_events(db) == ["done"]
