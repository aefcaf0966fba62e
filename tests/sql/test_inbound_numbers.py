"""What numbers the words of a sender that has no versions: its time, and on a tie the order of arrival."""

from __future__ import annotations

import datetime as dt
import uuid

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import column, value
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_product
from tests.sql.inbound import event, receive_event
from tests.sql.inbox import stock_level, work_off

NAME = "select name from public.products"


async def test_of_two_words_of_one_moment_the_later_is_the_newer(db: Connection, company: Company) -> None:
    product = str(await add_product(db, company))
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=1)  # newer than the row is

    async def told(event_id: str, name: str, after: int = 0) -> str:
        it = event("product.updated", event_id, id=product, name=name)
        it["timestamp"] = (moment + dt.timedelta(microseconds=after)).isoformat()
        return await receive_event(db, company, "product", it)

    names = ["One", "Two", "Three", "Three"]
    assert [await told(f"e-{n}", name) for n, name in enumerate(names)] == ["queued"] * 3 + ["duplicate"]
    await work_off(db, company)
    assert await value(db, NAME) == "Three"
    # a microsecond counts, and the numbers that ties took make no later moment old
    assert await told("e-8", "Four", after=1) == "queued"
    assert await told("e-9", "Zero") == "stale"


async def test_both_amounts_of_one_second_count(db: Connection, company: Company) -> None:
    level = str(await stock_level(db, company, await add_product(db, company)))
    for number, on_hand in enumerate([40, 37, 30]):
        await receive_event(
            db,
            company,
            "inventory",
            event("inventory.updated", f"e-{number}", level_id=level, on_hand=on_hand),
        )
    await work_off(db, company)
    assert await value(db, "select on_hand from public.stock_levels") == 40


async def test_the_future_is_refused(db: Connection, company: Company) -> None:
    await stop_clock(db)
    now = await value(db, "select private.now()")
    product = str(await add_product(db, company))
    for ahead, name in ((4, "Near"), (6, "Far")):
        moment = (now + dt.timedelta(minutes=ahead)).isoformat()
        it = event("product.updated", name, id=product, name=name) | {"timestamp": moment}
        if name == "Near":
            assert await receive_event(db, company, "product", it) == "queued"
            continue
        with pytest.raises(psycopg.Error, match=r"webhook\.event_invalid"):
            await receive_event(db, company, "product", it)


@pytest.mark.parametrize("numbered_first", [True, False])
async def test_numbers_and_times_do_not_mix(db: Connection, company: Company, numbered_first: bool) -> None:
    product = str(await add_product(db, company))
    numbered = event("product.updated", "e-1", id=product, name="One", version=1)
    timed = event("product.updated", "e-2", id=product, name="Two")
    first, second = (numbered, timed) if numbered_first else (timed, numbered)
    assert await receive_event(db, company, "product", first) == "queued"
    assert await receive_event(db, company, "product", second) == "rejected"
    codes = "select error ->> 'code' from public.inbound_webhooks where status = 'rejected'"
    assert await column(db, codes) == ["webhook.version_mixed"]
    other = event("product.updated", "e-3", id=str(await add_product(db, company, sku="OTHER")), name="Other")
    assert await receive_event(db, company, "product", other) == "queued", (
        "of another object nothing was said"
    )


async def test_an_id_of_the_senders_own_leaves_the_sku_to_tell(db: Connection, company: Company) -> None:
    product = await add_product(db, company, sku="BOOT-42")
    level = await stock_level(db, company, product)
    code = await value(
        db,
        "select s.code from public.locations s join public.stock_levels l on l.location_id = s.id"
        " where l.id = %s",
        level,
    )
    known = event("product.updated", "e-1", id="4711", sku="BOOT-42", name="Boot")
    assert await receive_event(db, company, "product", known) == "queued"
    for number, data in enumerate((
        {"level_id": "9", "sku": "BOOT-42", "location": code},
        {"product_id": "4711", "sku": "BOOT-42", "location_id": "3", "location": code},
    )):  # fmt: skip
        it = event("inventory.updated", f"l-{number}", **data, on_hand=40 - number)
        assert await receive_event(db, company, "inventory", it) == ("duplicate", "queued")[number]
    # one that is a UUID names what it names
    wrong = event("product.updated", "e-2", id=str(uuid.uuid4()), sku="BOOT-42", name="Other boot")
    assert await receive_event(db, company, "product", wrong) == "queued"
    assert (
        await value(
            db, "select count(distinct entity_id) from public.inbox_messages where entity = 'product'"
        )
        == 2
    )


async def test_a_sender_of_many_types_is_one_word_a_day(db: Connection, company: Company) -> None:
    for number in range(4):
        await receive_event(db, company, "product", event(f"product.odd_{number}", f"e-{number}"))
    told = "select count(*) from public.notifications where kind = 'inbound.unknown'"
    assert await value(db, told) == 1
