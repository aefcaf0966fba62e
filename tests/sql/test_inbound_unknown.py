"""Of events that nobody knows only so much is kept, and all are counted."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection
from tests.sql.ask import column, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, found_company
from tests.sql.inbound import event, receive_event


@pytest.mark.parametrize("letter", ["y", "é", "漢", "𝄞", "\\"])
async def test_a_bounded_part_is_kept(db: Connection, company: Company, letter: str) -> None:
    it = event("product.sneezed", first=1, second=letter * 30_000)
    assert await receive_event(db, company, "product", it) == "unknown"
    kept = await value(db, "select data from public.inbound_webhooks")
    size = await value(db, "select octet_length(%s::jsonb::text)", Jsonb(it["data"]))
    assert kept["bytes"] == size > 30_000
    assert kept["part"].startswith('{"first": 1, "second": "')
    assert 500 < len(kept["part"].encode()) <= 2048
    assert await value(db, "select pg_column_size(data) from public.inbound_webhooks") < 2200
    # it is the same one, as far as that can be told
    assert await receive_event(db, company, "product", it) == "(unknown)"
    with pytest.raises(psycopg.Error, match=r"webhook\.id_reused"):
        await receive_event(db, company, "product", it | {"data": {"first": 2}})
    with pytest.raises(psycopg.Error, match=r"webhook\.id_reused"):
        await receive_event(db, company, "product", it | {"type": "product.updated"})


async def test_a_thousand_a_day_are_kept_and_the_others_counted(db: Connection, company: Company) -> None:
    await stop_clock(db)
    other = await found_company(db, "rival")
    await db.execute(
        "insert into private.unknown_webhooks (tenant_id, day, events) values (%s, private.today(), 999)",
        (company.tenant_id,),
    )
    for number in range(4):
        it = event("product.sneezed", f"e-{number}")
        assert await receive_event(db, company, "product", it) == "unknown"
    kept = "select event_id from public.inbound_webhooks"
    assert await column(db, kept) == ["e-0"]
    assert await receive_event(db, company, "product", event("product.sneezed", "e-0")) == "(unknown)"
    assert await receive_event(db, other, "product", event("product.sneezed", "r-0")) == "unknown"
    assert sorted(await column(db, kept)) == ["e-0", "r-0"]
    assert (await rpc(db, "adapter_health"))["inbound"]["unknown"] == 1004
    told = "select count(*) from public.notifications where kind = 'inbound.unknown'"
    assert await value(db, told) == 2, "one for each tenant"
    # what is known has no such bound, and the next day begins with none
    assert await receive_event(db, company, "order", event("order.paid", "k-0")) == "rejected"
    await move_clock(db, dt.timedelta(days=1))
    assert (await rpc(db, "adapter_health"))["inbound"]["unknown"] == 0
    assert await receive_event(db, company, "product", event("product.sneezed", "e-9")) == "unknown"
    assert "e-9" in await column(db, kept)
    await move_clock(db, dt.timedelta(days=31))
    await rpc(db, "forget_webhooks")
    assert await value(db, "select count(*) from private.unknown_webhooks") == 0
