"""`import_products`: each row stands alone, and the same file twice changes nothing."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.company import Company, receive, stock_line

ON_HAND = "select sum(on_hand) from public.stock_levels"
IMAGES = "select source_url, position, alt_text from public.product_images order by position, source_url"


def row(sku: str = "TEE", **more: object) -> dict[str, Any]:
    return {
        "line": 2, "sku": sku, "parent_sku": None, "name": "Tee", "description": "", "status": "active",
        "price": "50.00", "currency": "USD", "attributes": {"colour": "red"}, "images": [], "quantity": None,
        "location_code": "MAIN", "source": f"import:abc:{sku}", **more,
    }  # fmt: skip


def image(name: str, position: int, alt_text: str | None = None) -> dict[str, object]:
    return {"source_url": f"https://example.com/{name}.png", "position": position, "alt_text": alt_text}


async def load(db: Connection, company: Company, *given: dict[str, Any]) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = await rpc(
        db, "import_products", p_tenant_id=company.tenant_id, p_rows=list(given)
    )
    return answer


async def results(db: Connection, company: Company, *given: dict[str, Any]) -> list[str]:
    return [line["result"] for line in await load(db, company, *given)]


async def test_a_row_is_created_then_unchanged_then_updated(db: Connection, company: Company) -> None:
    (created,) = await load(db, company, row())
    product = await value(db, "select id::text from public.products where sku = 'TEE'")
    assert created == {
        "line": 2, "sku": "TEE", "result": "created", "product_id": product, "received": 0, "error": None,
    }  # fmt: skip
    await rpc(db, "dispatch_outbox")
    assert await load(db, company, row()) == [{**created, "result": "unchanged"}]
    assert await value(db, "select count(*) from private.outbox") == 0
    assert await load(db, company, row(name="Tee-shirt")) == [{**created, "result": "updated"}]
    state = await rows(db, "select name, status, price::text, version from public.products")
    assert state == [("Tee-shirt", "active", "50.0000", 2)]


async def test_goods_are_received_once_per_source_for_ever(db: Connection, company: Company) -> None:
    first = row(quantity=7)
    assert [line["received"] for line in await load(db, company, first)] == [7]
    assert [line["received"] for line in await load(db, company, first, first)] == [0, 0]
    assert [line["received"] for line in await load(db, company, {**first, "quantity": 9})] == [0]
    assert [line["received"] for line in await load(db, company, {**first, "source": "import:def:2"})] == [7]
    assert await value(db, ON_HAND) == 14
    ledger = await rows(db, "select kind, quantity, reason, source from public.stock_movements order by id")
    assert ledger == [("receive", 7, "import", "import:abc:TEE"), ("receive", 7, "import", "import:def:2")]
    assert await rows(db, "select code, name from public.locations") == [("MAIN", "MAIN")]


async def test_two_imports_of_one_file_at_once_count_once(
    database: Database, db: Connection, company: Company
) -> None:
    batch = [row(f"SKU-{number}", line=number, quantity=3) for number in range(10)]
    sessions = [await database.connect() for _ in range(4)]
    answers = await asyncio.gather(*(load(session, company, *batch) for session in sessions))
    for lines in zip(*answers, strict=True):
        assert sorted(line["result"] for line in lines) == ["created", "unchanged", "unchanged", "unchanged"]
        assert sum(line["received"] for line in lines) == 3
    assert await value(db, ON_HAND) == 30


async def test_a_refused_row_says_why_and_leaves_the_others(db: Connection, company: Company) -> None:
    bad: dict[str, dict[str, Any]] = {
        "product.price_scale": row(price="50.001"),
        "product.price_not_negative": row(price="-1"),
        "product.currency_known": row(currency="XXX"),
        "product.name_clean": row(name="T\x07ee"),
        "product.name_length": row(name=""),
        "product.status_known": row(status="sold"),
        "product.sku_clean": row(" TEE"),
        "product.attributes_object": row(attributes=[]),
        "product.parent_missing": row(parent_sku="NONE"),
        "product_image.url_scheme": row(images=[image("a", 1), {**image("b", 2), "source_url": "ftp://b"}]),
        "location.code_form": row(quantity=1, location_code="no spaces"),
        "import.quantity_invalid": row(quantity=-1),
        "product.price_missing": row(price=None),
        "row.invalid": row(price="cheap"),
    }
    for code, refused in bad.items():
        before, line, after = await load(db, company, row("FIRST"), {**refused, "line": 3}, row("LAST"))
        assert (line["line"], line["result"], line["product_id"], line["received"]) == (3, "refused", None, 0)
        assert line["error"]["code"] == code
        assert line["error"]["detail"]
        assert {before["result"], after["result"]} <= {"created", "unchanged"}
    assert sorted(await column(db, "select sku from public.products")) == ["FIRST", "LAST"]
    assert await rows(db, IMAGES) == []


async def test_what_is_no_number_or_has_no_source_is_refused(db: Connection, company: Company) -> None:
    for bad in (row(quantity="1.5"), row(quantity="many"), row(price="cheap"), row(quantity=1, source=None)):
        assert await results(db, company, bad) == ["refused"]
    assert await value(db, "select count(*) from public.products") == 0


async def test_a_refused_row_receives_nothing_and_may_come_again(db: Connection, company: Company) -> None:
    given = row(quantity=5)
    assert await results(db, company, {**given, "price": "1.001"}) == ["refused"]
    (line,) = await load(db, company, given)
    assert (line["result"], line["received"]) == ("created", 5)


async def test_a_parent_comes_before_its_variants(db: Connection, company: Company) -> None:
    variant = row("TEE-S", parent_sku="TEE")
    assert await results(db, company, variant, row()) == ["refused", "created"]
    assert await results(db, company, row(), variant) == ["unchanged", "created"]
    parents = "select c.sku, p.sku from public.products c left join public.products p on p.id = c.parent_id"
    assert sorted(await rows(db, parents)) == [("TEE", None), ("TEE-S", "TEE")]


async def test_images_become_those_of_the_list(db: Connection, company: Company) -> None:
    a, b, c = image("a", 1, "Front"), image("b", 2), image("c", 3)
    assert await results(db, company, row(images=[a, b])) == ["created"]
    assert await results(db, company, row(images=[a, b])) == ["unchanged"]
    ids = dict(await rows(db, "select source_url, id from public.product_images"))
    assert await results(db, company, row(images=[{**a, "alt_text": "Back"}, c])) == ["updated"]
    assert await rows(db, IMAGES) == [(a["source_url"], 1, "Back"), (c["source_url"], 3, None)]
    kept = await value(db, "select id from public.product_images where source_url = %s", a["source_url"])
    assert kept == ids[a["source_url"]], "an image that stays keeps its row"
    without = row()
    del without["images"]
    assert await results(db, company, without) == ["unchanged"], "no list: leave them alone"
    assert await results(db, company, row(images=[])) == ["updated"]
    assert await rows(db, IMAGES) == []


async def test_a_deleted_product_does_not_come_back_but_its_sku_may(db: Connection, company: Company) -> None:
    (first,) = await load(db, company, row())
    await db.execute("update public.products set deleted_at = now()")
    (second,) = await load(db, company, row())
    assert second["result"] == "created"
    assert second["product_id"] != first["product_id"]


async def test_the_whole_batch_is_refused_where_it_is_none(db: Connection, company: Company) -> None:
    with pytest.raises(psycopg.Error, match=r"import\.rows_invalid"):
        await load(db, company, *[row()] * 501)
    with pytest.raises(psycopg.Error, match=r"import\.rows_invalid"):
        await rpc(db, "import_products", p_tenant_id=company.tenant_id, p_rows={"rows": []})
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await rpc(db, "import_products", p_tenant_id=uuid.uuid4(), p_rows=[row()])
    assert len(await load(db, company, *[row(f"S-{number}") for number in range(500)])) == 500


async def test_a_lock_that_is_not_to_be_had_refuses_no_row(
    db: Connection, other: Connection, company: Company
) -> None:
    await load(db, company, row())
    await db.execute("set lock_timeout = '100ms'")
    async with open_transaction(other):
        await other.execute("select from public.products for update")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await load(db, company, row(name="Waits"))


async def test_a_batch_takes_its_levels_in_the_order_of_every_command(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    await load(db, company, row("A", quantity=1, source="1"), row("B", quantity=1, source="2"))
    levels = await rows(db, "select product_id, location_id from public.stock_levels order by id")
    first, second = (stock_line(product, location, 1) for product, location in levels)
    skus = await column(
        db,
        "select p.sku from public.products p join public.stock_levels l on l.product_id = p.id"
        " order by l.id desc",
    )
    backwards = [row(sku, quantity=1, source=f"again {sku}") for sku in skus]
    async with open_transaction(other):
        await receive(other, company, [first])
        async with in_background(load(db, company, *backwards)):
            await waits_for_a_lock(third, db)
            await receive(other, company, [second])
            await other.commit()
    assert await value(third, ON_HAND) == 6


async def test_a_price_is_a_number(db: Connection, company: Company) -> None:
    (refused,) = await load(db, company, row(price="NaN"))
    assert refused["error"]["code"] == "product.price_a_number"
    with pytest.raises(psycopg.Error, match=r"product\.invalid"):
        async with acting_as(db, company.owner):
            await db.execute(
                "insert into public.products (tenant_id, sku, name, price) values (%s, 'N', 'N', 'NaN')",
                (company.tenant_id,),
            )
