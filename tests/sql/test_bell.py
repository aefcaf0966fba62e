"""The bell: sparse, never in a writer's way, and the tenants' rings within a budget."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rpc, value
from tests.sql.bell import forget_rings, hang_bell, rings
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_endpoint, add_product, add_products, found_company, rename
from tests.sql.dispatching import drain


@pytest.fixture
async def heard(database: Database, db: Connection, company: Company) -> Connection:
    """The clone with a bell that can be heard, the company's founding already dispatched."""
    await hang_bell(database)
    await rpc(db, "dispatch_outbox")
    await forget_rings(db)
    return db


async def test_a_transaction_rings_once_however_much_it_writes(heard: Connection, company: Company) -> None:
    async with heard.transaction():
        for product in await add_products(heard, company, 3):
            await rename(heard, product, "Renamed")
    assert await rings(heard) == [{"lane": "outbox"}]
    await add_product(heard, company)
    assert await rings(heard) == [{"lane": "outbox"}] * 2


async def test_a_write_that_changes_nothing_does_not_ring(heard: Connection, company: Company) -> None:
    product = await add_product(heard, company)
    await forget_rings(heard)
    await rename(heard, product, "Shirt")
    assert await rings(heard) == []


async def test_a_rolled_back_write_does_not_ring(heard: Connection, company: Company) -> None:
    async with heard.transaction(force_rollback=True):
        await add_product(heard, company)
    assert await rings(heard) == []


async def test_nobody_rings_while_the_worker_is_awake(heard: Connection, company: Company) -> None:
    await stop_clock(heard)
    await rpc(heard, "stay_awake", p_seconds=3)
    await add_product(heard, company, "ONE")
    assert await rings(heard) == []
    await move_clock(heard, dt.timedelta(seconds=3))
    await add_product(heard, company, "TWO")
    assert await rings(heard) == [{"lane": "outbox"}]
    await rpc(heard, "stay_awake", p_seconds=3)
    await rpc(heard, "stay_awake", p_seconds=0)
    await add_product(heard, company, "THREE")
    assert await rings(heard) == [{"lane": "outbox"}] * 2


async def test_a_bell_that_breaks_never_fails_the_write(
    database: Database, heard: Connection, company: Company
) -> None:
    admin = await database.connect("supabase_admin")
    await admin.execute(
        "create or replace function realtime.send("
        "  payload jsonb, event text, topic text, private boolean default true"
        ") returns void language plpgsql as $$ begin raise 'no bell today'; end $$"
    )
    warnings: list[str | None] = []
    heard.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    product = await add_product(heard, company)
    assert await value(heard, "select count(*) from private.outbox where entity_id = %s", product) == 1
    assert warnings == ["the worker was not rung: no bell today"]
    answer = await rpc(heard, "dispatch_outbox")
    assert answer["events"] == 1
    assert warnings[-1] == "a tenant was not rung: no bell today"


async def test_a_tenants_ring_says_how_far_its_log_reaches(heard: Connection, company: Company) -> None:
    await add_products(heard, company, 3)
    await rpc(heard, "dispatch_outbox")
    epoch = await value(heard, "select epoch from private.log_epoch")
    assert await rings(heard, f"tenant:{company.tenant_id}") == [
        {"tenant": str(company.tenant_id), "epoch": epoch, "seq": 5}
    ]


async def test_rings_beyond_the_budget_come_later_the_longest_waiting_first(
    heard: Connection, company: Company
) -> None:
    await stop_clock(heard)
    await heard.execute(
        "update private.ring_budget set per_second = 2, tokens = 0, refilled_at = private.now()"
    )
    companies = []
    for number in range(5):
        companies.append(await found_company(heard, f"tenant-{number}"))
        await rpc(heard, "dispatch_outbox")
        await move_clock(heard, dt.timedelta(milliseconds=1))
    assert await _topics_rung(heard) == []
    order = [f"tenant:{one.tenant_id}" for one in companies]
    # Fresh news does not send a tenant back to the end of the line.
    await add_product(heard, companies[0], "AGAIN")
    rung: list[list[str]] = []
    for _ in range(3):
        await forget_rings(heard)
        await move_clock(heard, dt.timedelta(seconds=1))
        await rpc(heard, "dispatch_outbox")
        rung.append(await _topics_rung(heard))
    assert [set(topics) for topics in rung] == [set(order[:2]), set(order[2:4]), {order[4]}]
    await forget_rings(heard)
    await move_clock(heard, dt.timedelta(seconds=1))
    await rpc(heard, "dispatch_outbox")
    assert await _topics_rung(heard) == [], "everybody knows"


async def test_a_quiet_time_saves_up_no_more_than_a_second_of_rings(heard: Connection) -> None:
    await stop_clock(heard)
    await heard.execute(
        "update private.ring_budget set per_second = 3, tokens = 0, refilled_at = private.now()"
    )
    for number in range(5):
        await found_company(heard, f"tenant-{number}")
    await move_clock(heard, dt.timedelta(hours=1))
    await rpc(heard, "dispatch_outbox")
    assert len(await _topics_rung(heard)) == 3


async def test_only_other_workers_are_rung_for_what_dispatch_queued(
    heard: Connection, company: Company
) -> None:
    await add_endpoint(heard, company)
    await rpc(heard, "lease_lanes", p_worker="me")
    await rpc(heard, "dispatch_outbox", p_worker="me")
    await forget_rings(heard)
    await add_product(heard, company, "ONE")
    await rpc(heard, "dispatch_outbox", p_worker="me")
    assert await rings(heard) == [{"lane": "outbox"}], "from the write; I know what I queued"
    await forget_rings(heard)
    await add_product(heard, company, "TWO")
    await rpc(heard, "dispatch_outbox", p_worker="you")
    assert await rings(heard) == [{"lane": "outbox"}, {"lane": "deliveries"}]


async def test_a_released_lane_and_a_new_job_ring(heard: Connection, company: Company) -> None:
    await add_endpoint(heard, company)
    token = (await rpc(heard, "lease_lanes", p_worker="me"))["token"]
    await forget_rings(heard)
    await rpc(heard, "release_lanes", p_token=token)
    await rpc(heard, "enqueue_job", p_kind="images.fetch")
    assert await rings(heard) == [{"lane": "endpoints"}, {"lane": "jobs"}]


async def test_a_client_may_not_ring(heard: Connection, company: Company) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(heard, company.owner):
            await heard.execute(
                "insert into realtime.messages (topic, extension, event, private, payload)"
                " values ('worker', 'broadcast', 'ring', true, '{}')"
            )


async def _topics_rung(db: Connection) -> list[str]:
    return await column(db, "select topic from realtime.messages where topic like 'tenant:%%' order by topic")


async def test_a_clock_that_is_set_back_stops_neither_bell_nor_dispatch(
    db: Connection, company: Company
) -> None:
    """As after a failover, or by a hand: for an hour less than no time seems to have passed."""
    await stop_clock(db)
    await add_product(db, company)
    await drain(db)
    await move_clock(db, -dt.timedelta(hours=1))
    await add_product(db, company, "LATER")
    await drain(db)
    assert await value(db, "select count(*) from private.outbox") == 0
    assert await value(db, "select tokens >= 0 from private.ring_budget")
    await move_clock(db, dt.timedelta(seconds=1))
    await add_product(db, company, "LAST")
    await drain(db)
    assert await value(db, "select count(*) from private.tenant_log where unrung_since is not null") == 0
