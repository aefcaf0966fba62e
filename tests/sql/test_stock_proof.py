"""The proof finds every way in which ledger, levels and reservations can differ, and repairs on request."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.databases import Connection, Database
from tests.sql.ask import in_background, rows, value
from tests.sql.company import Company, add_member, found_company, receive
from tests.sql.inventory import Shelf, add_shelf, assert_books_agree, command, level, reserve, settle

TAMPERINGS = {
    "a level that was written by hand": (
        "update public.stock_levels set on_hand = on_hand + 1",
        {"on_hand", "ledger"},
    ),
    "a reserved that was written by hand": (
        "update public.stock_levels set reserved = 0",
        {"reserved", "ledger"},
    ),
    "a reservation that is gone": ("delete from public.reservations", {"reserved"}),
    "a reservation that was closed by hand": (
        "update public.reservations set status = 'released', expires_at = null",
        {"reserved"},
    ),
    "a movement that is gone": ("delete from public.stock_movements where kind = 'receive'", {"on_hand"}),
    "a promise missing in the ledger": (
        "delete from public.stock_movements where kind = 'reserve'",
        {"ledger"},
    ),
    "an amount that was changed in the ledger": (
        "update public.stock_movements set quantity = 11 where kind = 'receive'",
        {"on_hand"},
    ),
    "an after-amount that was changed": (
        "update public.stock_movements set on_hand_after = 9 where kind = 'reserve'",
        {"ledger"},
    ),
}


@pytest.fixture
async def shelf(db: Connection, company: Company) -> Shelf:
    """Ten of one product, four of them held."""
    shelf = await add_shelf(db, company, 10)
    await reserve(db, company, [shelf.line(4)])
    return shelf


async def prove(db: Connection, company: Company, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await command(db, company, "run_stock_proof", **arguments)
    return answer


async def test_books_that_agree_have_no_findings(db: Connection, company: Company, shelf: Shelf) -> None:
    proof = await prove(db, company)
    assert (proof["findings"], proof["levels"], proof["repaired"]) == ([], 1, False)


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_every_difference_is_found_recorded_and_repaired_on_request(
    database: Database, db: Connection, company: Company, shelf: Shelf, name: str
) -> None:
    tampering, kinds = TAMPERINGS[name]
    other = await add_shelf(db, company, 5, sku="OTHER")
    await reserve(db, company, [other.line(1)])
    admin = await database.connect("supabase_admin")
    await admin.execute("set session_replication_role = replica")
    await admin.execute(_only(tampering, shelf), (shelf.product,))

    proof = await prove(db, company)
    assert {finding["kind"] for finding in proof["findings"]} == kinds
    assert {finding["product_id"] for finding in proof["findings"]} == {str(shelf.product)}
    assert not proof["repaired"]
    recorded = "select count(*) from public.reconciliation_findings where repaired_at is null"
    assert await value(db, recorded) == len(proof["findings"])
    assert (await prove(db, company))["findings"] == proof["findings"], "looking changes nothing"

    assert (await prove(db, company, repair=True))["repaired"]
    assert (await prove(db, company))["findings"] == []
    assert await value(db, recorded) == 0
    repairs = await rows(db, "select level_id from public.stock_movements where kind = 'repair'")
    assert len(repairs) == 1
    await assert_books_agree(db)


def _only(tampering: str, shelf: Shelf) -> bytes:
    """The tampering, at this product alone."""
    level = "(select l.id from public.stock_levels l where l.product_id = %s)"
    word = "and" if " where " in tampering else "where"
    key = "id" if "public.stock_levels" in tampering else "level_id"
    return f"{tampering} {word} {key} = {level}".encode()


async def test_a_repair_that_finds_more_promised_than_there_is_leaves_a_shortfall(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    admin = await database.connect("supabase_admin")
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update public.reservations set quantity = 13")
    await prove(db, company, repair=True)
    assert await level(db, shelf, "on_hand, reserved, shortfall") == (10, 13, 3)


async def test_the_proof_of_one_tenant_sees_that_tenant(
    db: Connection, company: Company, shelf: Shelf
) -> None:
    rival = await found_company(db, "rival")
    assert (await prove(db, rival))["levels"] == 0
    clerk = await add_member(db, company, "clerk")
    assert (await prove(db, company, who=clerk))["findings"] == []
    for who, arguments, error in (
        (rival.owner, {}, r"tenant\.not_found"),
        (await add_member(db, company, "viewer"), {}, r"access\.denied"),
        (clerk, {"repair": True}, r"access\.denied"),
    ):
        with pytest.raises(psycopg.Error, match=error):
            await prove(db, company, who=who, **arguments)


async def test_the_proof_is_exact_while_sales_go_on(
    database: Database, db: Connection, company: Company, shelf: Shelf
) -> None:
    seller = await database.connect()

    async def sell() -> None:
        for _ in range(30):
            held = await reserve(seller, company, [shelf.line(1)])
            await receive(seller, company, [shelf.line(1)])
            await settle(seller, company, "release", held)

    async with in_background(sell()) as selling:
        proofs = 0
        while not selling.done():
            assert (await prove(db, company))["findings"] == []
            proofs += 1
    assert proofs > 5
