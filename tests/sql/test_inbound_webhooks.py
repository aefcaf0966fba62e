"""Events of other systems: kept once, worked by the ways that there are, and never lost without a word."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product, found_company
from tests.sql.inbound import apply_event, event, receive_event, work_events
from tests.sql.inbox import PRODUCT, stock_level, work_off
from tests.sql.ordering import open_shop, place, wants


async def test_a_product_is_made_changed_and_deleted_by_events(db: Connection, company: Company) -> None:
    new = str(uuid.uuid4())
    made = event("product.created", "e-1", id=new, version=1, sku="BAG", name="Bag", price=10)
    assert await receive_event(db, company, "product", made) == "queued"
    assert await work_off(db, company) == ["applied"]
    await db.execute("update public.products set price = 12")
    named = event("product.updated", "e-2", id=new, version=2, sku="BAG", name="Big bag", price=10)
    assert await receive_event(db, company, "product", named) == "queued"
    assert (await work_off(db, company))[-1] == "applied"
    assert await rows(db, PRODUCT) == [("Big bag", 12, {}, 3)], "the name is theirs, the price ours"
    # by its sku, and with a row's own columns, which no sender changes
    late = event("product.updated", "e-3", sku="BAG", version=2, name="Old bag", created_at="2026-01-01")
    assert await receive_event(db, company, "product", late) == "stale"
    again = event("product.updated", "e-4", id=new, version=3, sku="BAG", name="Big bag", price=10)
    assert await receive_event(db, company, "product", again) == "duplicate"
    gone = event("product.deleted", "e-5", id=new, version=4)
    assert await receive_event(db, company, "product", gone) == "queued"
    assert (await work_off(db, company))[-1] == "conflict", "our price is newer than what it knew"
    kept = (
        "select event_id, status, change_id is not null, inbox_message_id is not null"
        " from public.inbound_webhooks"
    )
    assert sorted(await rows(db, kept)) == [
        ("e-1", "queued", True, True), ("e-2", "queued", True, True), ("e-3", "stale", False, True),
        ("e-4", "duplicate", False, True), ("e-5", "queued", True, True),
    ]  # fmt: skip


async def test_an_event_is_kept_once_and_its_id_is_its_own(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    it = event("product.updated", id=str(product), version=1, name="Boot")
    assert await receive_event(db, company, "product", it) == "queued"
    later = it | {"timestamp": "2026-11-21T00:00:00Z"}
    assert await receive_event(db, company, "product", later) == "(queued)", "a retry may have its own time"
    assert await value(db, "select count(*) from public.sync_changes") == 1
    for other in (
        it | {"data": {**it["data"], "name": "Shoe"}},
        it | {"type": "product.created"},
    ):
        with pytest.raises(psycopg.Error, match=r"webhook\.id_reused") as refused:
            await receive_event(db, company, "product", other)
        assert refused.value.sqlstate == "PT409"
    with pytest.raises(psycopg.Error, match=r"webhook\.id_reused"):
        await receive_event(db, company, "inventory", it)
    # another sender's ids are its own
    manager = await add_member(db, company, "manager")
    assert await receive_event(db, company, "product", it, manager) == "queued"


async def test_twins_at_the_same_time_are_one(database: Database, db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    it = event("product.updated", id=str(product), version=1, name="Boot")
    connections = [await database.connect() for _ in range(6)]
    told = await asyncio.gather(*(receive_event(each, company, "product", it) for each in connections))
    assert sorted(told) == ["(queued)"] * 5 + ["queued"]
    assert await value(db, "select count(*) from public.inbound_webhooks") == 1
    assert await value(db, "select count(*) from public.sync_changes") == 1


async def test_amounts_move_by_the_difference_between_two_words(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    level = await stock_level(db, company, product)
    code = await value(db, "select code from public.locations")
    first = event("inventory.updated", "e-1", level_id=str(level), on_hand=40, version=1)
    second = event("inventory.updated", "e-2", product_id=str(product), location=code, on_hand=37, version=2)
    assert await receive_event(db, company, "inventory", first) == "duplicate"
    assert await receive_event(db, company, "inventory", second) == "queued"
    assert await work_off(db, company) == ["applied"]
    assert await value(db, "select on_hand from public.stock_levels") == 47


async def test_orders_walk_by_their_events_one_after_the_other(db: Connection, company: Company) -> None:
    shop = await open_shop(db, company)
    order = await place(db, company, [wants(shop.shirt, 2)])
    number, order_id = order["number"], order["id"]
    steps = [
        event("order.paid", "e-1", number=number, payment="pay_77"),
        event("order.shipped", "e-2", order_id=order_id, tracking="T1"),
        event("order.cancelled", "e-3", number=number),
        event("order.refunded", "e-4", number=number, amount=5),
    ]
    assert {await receive_event(db, company, "order", each) for each in steps} == {"queued"}
    assert await value(db, "select status from public.orders") == "placed", (
        "nothing waits for an order's locks"
    )
    assert await work_events(db) == ["done", "done", "rejected", "done"]
    status = await rows(db, "select status, refunded_total::int from public.orders")
    assert status == [("shipped", 5)]
    assert await errors(db) == ["order.transition_illegal"]
    assert await receive_event(db, company, "order", steps[0]) == "(done)"
    assert await work_events(db) == []
    told = "select kind, severity from public.notifications where kind like 'inbound.%%'"
    assert await rows(db, told) == [("inbound.rejected", "warning")]
    history = "select payload ->> 'payment' from public.order_history where event = 'pay'"
    assert await column(db, history) == ["pay_77"]


async def test_an_order_event_happens_once_however_often_its_job_runs(
    db: Connection, company: Company
) -> None:
    """Without the look at the status a repeated refund would pay twice."""
    shop = await open_shop(db, company)
    order = await place(db, company, [wants(shop.shirt, 2)])
    await receive_event(db, company, "order", event("order.paid", "e-1", number=order["number"]))
    await receive_event(
        db, company, "order", event("order.refunded", "e-2", number=order["number"], amount=1)
    )
    assert await work_events(db) == ["done", "done"]
    await db.execute("delete from private.command_results")  # a day later
    [refund] = await column(db, "select id from public.inbound_webhooks where event_id = 'e-2'")
    assert await apply_event(db, refund, company.owner) == "done"
    assert await value(db, "select refunded_total::int from public.orders") == 1
    assert await apply_event(db, uuid.uuid4(), company.owner) == "gone"


async def test_only_its_sender_lets_an_event_happen_and_only_with_the_right(
    db: Connection, company: Company
) -> None:
    shop = await open_shop(db, company)
    order = await place(db, company, [wants(shop.shirt, 1)])
    clerk = await add_member(db, company, "clerk")
    await receive_event(db, company, "order", event("order.paid", number=order["number"]), clerk)
    [waiting] = await column(db, "select id from public.inbound_webhooks")
    assert await apply_event(db, waiting, company.owner) == "gone"
    await db.execute("update public.memberships set role = 'viewer' where principal_id = %s", (clerk,))
    assert await apply_event(db, waiting, clerk) == "rejected"
    assert await value(db, "select status from public.orders") == "placed"
    viewer = await add_member(db, company, "viewer")
    for kind in ("product", "inventory", "order"):
        with pytest.raises(psycopg.Error, match=r"permission\.|role\.|denied|forbidden") as refused:
            await receive_event(db, company, kind, event(f"{kind}.updated", "v-1"), viewer)
        assert refused.value.sqlstate == "PT403"


async def test_what_nobody_knows_is_kept_and_said_once_a_day(db: Connection, company: Company) -> None:
    await stop_clock(db)
    for number in range(3):
        unknown = event("product.sneezed", f"e-{number}", loud=True)
        assert await receive_event(db, company, "product", unknown) == "unknown"
    # of another kind's type this one knows nothing either
    assert await receive_event(db, company, "order", event("product.updated", "e-9")) == "unknown"
    query = "select title from public.notifications where kind = 'inbound.unknown'"
    assert len(await column(db, query)) == 2
    assert await column(db, "select data from public.inbound_webhooks where event_id = 'e-1'") == [
        {"loud": True}
    ]
    health = (await rpc(db, "adapter_health"))["inbound"]
    assert (health["unknown"], health["rejected"], health["queued"]) == (4, 0, 0)
    await move_clock(db, dt.timedelta(days=1))
    await receive_event(db, company, "product", event("product.sneezed", "e-10"))
    assert len(await column(db, query)) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"id": ""}, {"id": 7}, {"id": "x" * 201}, {"id": "a\x07"}, {"type": "a b"}, {"type": None},
        {"timestamp": "yesterday"}, {"timestamp": 1764201600}, {"data": []}, {"data": None},
        {"data": {"x": "y" * 131_073}},
    ],
)  # fmt: skip
async def test_what_is_no_event_is_refused_whole(
    db: Connection, company: Company, bad: dict[str, object]
) -> None:
    with pytest.raises(psycopg.Error, match=r"webhook\.event_invalid") as refused:
        await receive_event(db, company, "product", event("product.updated") | bad)
    assert refused.value.sqlstate == "PT400"
    with pytest.raises(psycopg.Error, match=r"webhook\.kind_unknown"):
        await receive_event(db, company, "customer", event("product.updated"))
    assert await value(db, "select count(*) from public.inbound_webhooks") == 0


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("product", {"name": "No id"}, "product.not_found"),
        ("product", {"id": "no-uuid", "name": "x"}, "product.not_found"),
        ("product", {"id": str(uuid.uuid4()), "colour": "red"}, "sync.message_invalid"),
        ("product", {"id": str(uuid.uuid4()), "version": "new", "name": "x"}, "sync.message_invalid"),
        ("inventory", {"sku": "NONE", "on_hand": 1}, "stock.not_found"),
        ("inventory", {"location": "MAIN", "on_hand": 1}, "stock.not_found"),
        ("order", {"order_id": "7"}, "order.not_found"),
    ],
)
async def test_what_cannot_be_done_is_kept_with_its_reason(
    db: Connection, company: Company, kind: str, data: dict[str, object], code: str
) -> None:
    known = "order.paid" if kind == "order" else f"{kind}.updated"
    assert await receive_event(db, company, kind, event(known) | {"data": data}) == "rejected"
    assert await errors(db) == [code]
    assert await receive_event(db, company, kind, event(known) | {"data": data}) == "(rejected)"
    assert await value(db, "select count(*) from public.notifications where kind = 'inbound.rejected'") == 1


async def test_another_tenants_rows_are_nobodys(db: Connection, company: Company) -> None:
    await stop_clock(db)
    other_company = await found_company(db, "rival")
    shop = await open_shop(db, other_company)
    order = await place(db, other_company, [wants(shop.shirt, 1)])
    level = await value(db, "select id from public.stock_levels where product_id = %s", shop.shirt)
    named = {"product_id": str(shop.shirt), "location_id": str(shop.location)}
    for number, (kind, it) in enumerate((
        ("order", event("order.paid", order_id=order["id"])),
        ("order", event("order.paid", number=order["number"])),
        ("inventory", event("inventory.updated", level_id=str(level), on_hand=1)),
        ("inventory", event("inventory.updated", **named, on_hand=1)),
    )):  # fmt: skip
        assert await receive_event(db, company, kind, it | {"id": f"e-{number}"}) == "queued"
    await work_events(db)
    await move_clock(db, dt.timedelta(minutes=10))
    assert await work_events(db) == ["rejected"] * 4
    assert sorted(await errors(db)) == ["order.not_found"] * 2 + ["stock.not_found"] * 2
    async with acting_as(db, other_company.owner):
        assert await column(db, "select id from public.inbound_webhooks") == []
    elsewhere = Company(other_company.tenant_id, company.owner)
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await receive_event(db, elsewhere, "order", event("order.paid", "x"))


async def test_events_are_forgotten_after_their_time_but_not_while_they_wait(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    shop = await open_shop(db, company)
    order = await place(db, company, [wants(shop.shirt, 1)])
    await receive_event(db, company, "order", event("order.paid", "waits", number=order["number"]))
    await receive_event(db, company, "order", event("order.paid", "refused", number=None))
    await move_clock(db, dt.timedelta(days=31))
    await receive_event(db, company, "order", event("order.sneezed", "young"))
    assert await rpc(db, "forget_webhooks") == {"forgotten": 1, "requeued": 0, "more": False}
    assert sorted(await column(db, "select event_id from public.inbound_webhooks")) == ["waits", "young"]
    assert (await rpc(db, "adapter_health"))["inbound"]["oldest_queued_seconds"] == 31 * 86_400
    with pytest.raises(psycopg.Error, match=r"retention\.too_short"):
        await rpc(db, "forget_webhooks", p_keep_days=0)


async def errors(db: Connection) -> list[str]:
    return await column(db, "select error ->> 'code' from public.inbound_webhooks where status = 'rejected'")
