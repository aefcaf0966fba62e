"""`upsert_products`: thousands of rows, each with its own answer."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.sql.ask import column, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.catalogue import details, upsert
from tests.sql.company import Company, add_member, add_product, found_company, rename

COUNT = "select count(*) from public.products"


def row(sku: str, **more: object) -> dict[str, object]:
    return {"sku": sku, "name": sku.title(), **more}


def told(answer: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Of each row: the result, and the code of its refusal."""
    return [(one["result"], one["error"] and one["error"]["code"]) for one in answer["rows"]]


async def test_rows_are_created_changed_or_left(db: Connection, company: Company) -> None:
    first = await upsert(db, company, row("A", price=5, attributes={"a": 1}), row("B"))
    assert told(first) == [("created", None)] * 2
    second = await upsert(db, company, row("A", price=6), row("B"), row("C"))
    assert told(second) == [("updated", None), ("unchanged", None), ("created", None)]
    assert [second[key] for key in ("created", "updated", "unchanged", "refused")] == [1, 1, 1, 0]
    assert [(one["line"], one["sku"], one["version"]) for one in second["rows"]] == [
        (1, "A", 2), (2, "B", 1), (3, "C", 1),
    ]  # fmt: skip
    ids = dict(await rows(db, "select sku, id::text from public.products"))
    assert {one["sku"]: one["product_id"] for one in second["rows"]} == ids
    stored = "select price, attributes, currency from public.products where sku = 'A'"
    assert await rows(db, stored) == [(6, {"a": 1}, "USD")], "what a row leaves out stays"


async def test_a_row_that_was_read_can_be_sent_back(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    read = await value(db, "select to_jsonb(p) from public.products p")
    assert told(await upsert(db, company, read)) == [("unchanged", None)]
    assert told(await upsert(db, company, {**read, "sku": "RENAMED"})) == [("updated", None)]
    assert await rows(db, "select id, sku, version from public.products") == [(product, "RENAMED", 2)]


async def test_a_version_is_checked_for_its_row(db: Connection, company: Company) -> None:
    for sku in "AB":
        await rename(db, await add_product(db, company, sku), "Newer")
    answer = await upsert(
        db, company, row("A", version=1), row("B", version=2), row("C", version=1), row("D")
    )
    assert told(answer) == [
        ("refused", "version.stale"), ("updated", None), ("refused", "product.not_found"), ("created", None),
    ]  # fmt: skip
    assert "2" in answer["rows"][0]["error"]["detail"]


async def test_each_bad_row_is_told_its_own_fault(db: Connection, company: Company) -> None:
    bad: dict[str, Any] = {
        "product.price_scale": row("A", price="1.001"),
        "product.price_not_negative": row("B", price=-1),
        "product.currency_known": row("C", currency="XYZ"),
        "row.field_unknown": row("D", colour="red"),
        "row.invalid": "no object",
        "product.parent_missing": row("F", parent_sku="NONE"),
        "product.category_missing": row("G", category_id=str(uuid.uuid4())),
        "product.not_publishable": row("H", status="active"),
        "product.not_found": {"id": str(uuid.uuid4()), "name": "I"},
        "product.status_known": row("J", status="sold"),
    }
    answer = await upsert(db, company, *bad.values(), row("GOOD"))
    assert told(answer) == [("refused", code) for code in bad] + [("created", None)]
    for wrong in (
        {"name": "x"},
        row("L", id="x"),
        row("M", version="x"),
    ):
        assert told(await upsert(db, company, wrong)) == [("refused", "row.invalid")]
    assert told(await upsert(db, company, row("K", price="cheap"))) == [("refused", "product.price_type")]
    assert told(await upsert(db, company, {"sku": "N"})) == [("refused", "product.name_length")]
    assert told(await upsert(db, company, row("O", price="1.00001"))) == [("refused", "product.price_scale")]
    assert await column(db, "select sku from public.products") == ["GOOD"]


async def test_a_sku_of_another_product_is_refused_in_words(db: Connection, company: Company) -> None:
    await add_product(db, company, "TAKEN")
    mine = await add_product(db, company, "MINE")
    answer = await upsert(db, company, {"id": str(mine), "sku": "TAKEN"}, row("NEW"))
    assert told(answer) == [("refused", "product.sku_living"), ("created", None)]
    assert answer["rows"][0]["error"]["detail"] == "Another product has this sku."


async def test_a_sku_twice_in_a_call_is_refused_each_time(db: Connection, company: Company) -> None:
    product = str(await add_product(db, company, "B"))
    answer = await upsert(db, company, row("A"), row("A"), {"id": product}, {"id": product}, row("C"))
    assert told(answer) == [
        *[("refused", "product.sku_repeated")] * 2,
        *[("refused", "product.id_repeated")] * 2,
        ("created", None),
    ]  # fmt: skip


async def test_parents_come_before_their_variants_whatever_the_order(
    db: Connection, company: Company
) -> None:
    answer = await upsert(
        db,
        company,
        row("A-1", parent_sku="B"),
        row("B"),
        row("C", parent_sku="A-1"),
        row("D", parent_sku=None),
    )
    assert told(answer) == [
        ("created", None), ("created", None), ("refused", "product.parent_missing"), ("created", None),
    ]  # fmt: skip
    again = await upsert(db, company, row("C", parent_sku="A-1"), row("A-1"))
    assert told(again) == [("refused", "product.variant_depth"), ("unchanged", None)]
    assert told(await upsert(db, company, row("A-1", parent_sku=None))) == [("updated", None)]
    assert await value(db, "select count(*) from public.products where parent_id is not null") == 0


async def test_all_or_nothing(db: Connection, company: Company) -> None:
    with pytest.raises(psycopg.Error, match=r"product\.rows_refused") as refused:
        await upsert(db, company, row("A"), row("B", price=-1), p_all_or_nothing=True)
    assert [(one["line"], one["error"]["code"]) for one in details(refused.value)] == [
        (2, "product.price_not_negative")
    ]
    assert await value(db, COUNT) == 0
    assert (await upsert(db, company, row("A"), row("B"), p_all_or_nothing=True))["created"] == 2


async def test_a_key_gives_the_stored_answer(db: Connection, company: Company) -> None:
    first = await upsert(db, company, row("A"), p_key="k")
    assert await upsert(db, company, row("A"), p_key="k") == first
    with pytest.raises(psycopg.Error, match=r"idempotency\.key_reused"):
        await upsert(db, company, row("B"), p_key="k")
    await rpc(db, "dispatch_outbox")
    assert await column(db, "select command_id from public.events where entity = 'product'") == ["k"]


async def test_who_may_not_is_refused(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    for role in ("clerk", "viewer"):
        with pytest.raises(psycopg.Error, match=r"access\.denied"):
            await upsert(db, company, row("A"), who=await add_member(db, company, role))
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await upsert(db, company, row("A"), who=rival.owner)
    theirs = await add_product(db, rival, "A")
    answer = await upsert(db, company, {"id": str(theirs), "name": "Mine"}, row("A"))
    assert told(answer) == [("refused", "product.not_found"), ("created", None)]
    assert await value(db, "select name from public.products where id = %s", theirs) == "Shirt"
    variant = row("V", parent_id=str(theirs))
    assert told(await upsert(db, company, variant)) == [("refused", "product.parent_missing")]


async def test_the_call_is_refused_where_it_is_none(db: Connection, company: Company) -> None:
    for given in ([], [row("A")] * 5001):
        with pytest.raises(psycopg.Error, match=r"product\.rows_invalid"):
            await upsert(db, company, *given)


async def test_twins_that_add_the_same_end_with_one_of_each(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    async with open_transaction(other):
        await add_product(other, company, "B")
        late = asyncio.create_task(upsert(db, company, row("C"), row("B"), row("A")))
        await waits_for_a_lock(third, db)
        await other.commit()
        assert told(await late) == [("created", None), ("updated", None), ("created", None)]
    assert await value(db, COUNT) == 3


async def test_crowds_in_different_orders_do_not_deadlock(database: Database, company: Company) -> None:
    sessions = [await database.connect() for _ in range(4)]
    given = [row(f"S-{number}") for number in range(200)]
    for price in (1, 2):
        priced = [{**one, "price": price} for one in given]
        await asyncio.gather(
            *(
                upsert(session, company, *priced[n * 50 :], *priced[: n * 50])
                for n, session in enumerate(sessions)
            )
        )
    assert await rows(sessions[0], "select count(*), min(price), max(version) from public.products") == [
        (200, 2, 2)
    ]


WRITTEN = "select n_tup_ins + n_tup_upd from pg_stat_xact_user_tables where relname = 'products'"
"""Rows written in this transaction, those that were undone included."""


@pytest.mark.timeout(120)
async def test_five_thousand_rows_are_written_about_once(db: Connection, company: Company) -> None:
    given = [row(f"SKU-{number}", description="Some words about it", price=number) for number in range(5000)]
    assert (await upsert(db, company, *given))["created"] == 5000
    assert (await upsert(db, company, *given))["unchanged"] == 5000
    bad = [{**one, "price": -1 if n % 10 == 5 else 9.5} for n, one in enumerate(given)]
    async with open_transaction(db):
        answer = await upsert(db, company, *bad)
        assert (answer["refused"], answer["updated"]) == (500, 4500)
        assert await value(db, WRITTEN) < 5000, "good rows are not written again for each bad one"
    async with open_transaction(db):
        answer = await upsert(db, company, *({**one, "name": ""} for one in given))
        assert answer["refused"] == 5000
        assert await value(db, WRITTEN) == 0


async def test_an_answer_does_not_hang_on_its_neighbours(db: Connection, company: Company) -> None:
    """Alone, among good rows, and among rows that break other rules, a row is refused in the same words."""
    wrong = [
        row("PRICE", price=-1),
        row("TWICE", price=-1, name=" \t"),
        row("TYPE", price="much"),
        row("CATEGORY", category_id=str(uuid.uuid4())),
        row("PLAN", status="archived", publish_at="2030-01-01T00:00:00Z", price=-1),
    ]
    alone = [(await upsert(db, company, one))["rows"][0]["error"] for one in wrong]
    good = [row(f"GOOD-{number}") for number in range(30)]
    crowd = [one for n, other in enumerate(wrong) for one in (*good[n * 6 : n * 6 + 6], other)]
    answer = await upsert(db, company, *crowd)
    assert [one["error"] for one in answer["rows"] if one["error"]] == alone
    assert (answer["created"], answer["refused"]) == (30, 5)
