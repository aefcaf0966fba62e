"""Conflicts that people decide: who may, what is written, and that the waiting ones make themselves heard."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product
from tests.sql.syncing import apply, attempt, change, push, write


async def conflict(
    db: Connection, company: Company, product: uuid.UUID, *fields: str, theirs: Any = 12
) -> list[uuid.UUID]:
    """Open conflicts on fields of one change, in their order."""
    it = change(product, {name: {"set": theirs} for name in fields})
    await push(db, company, it)
    decisions = [
        {"field": name, "policy": "manual", "base": 0, "ours": 2, "theirs": theirs, "winner": None}
        for name in fields
    ]
    held = await attempt(db)
    await apply(db, held, write(it, action="none", status="conflict", decisions=decisions), who=company.owner)
    await rpc(db, "settle_jobs", p_results=[{"attempt_id": held, "outcome": "done"}])
    query = (
        "select id from public.sync_conflicts where change_id = %s order by array_position(%s::text[], field)"
    )
    return await column(db, query, it["id"], list(fields))


async def resolve(
    db: Connection,
    company: Company,
    which: uuid.UUID,
    choice: str,
    chosen: Any = None,
    *,
    who: uuid.UUID | None = None,
) -> None:
    async with acting_as(db, who or company.owner):
        sent = None if chosen is None else json.dumps(chosen)
        query = "select public.resolve_conflict(%s, %s, %s, %s)"
        await db.execute(query, (company.tenant_id, which, choice, sent))


@pytest.mark.parametrize(
    ("choice", "chosen", "price"), [("ours", None, 0), ("theirs", None, 12), ("value", 7, 7)]
)
async def test_a_choice_is_written_and_kept(
    db: Connection, company: Company, choice: str, chosen: Any, price: int
) -> None:
    product = await add_product(db, company)
    [open_one] = await conflict(db, company, product, "price")
    await resolve(db, company, open_one, choice, chosen)
    assert await value(db, "select price from public.products") == price
    query = "select winner, value, decided_by from public.sync_conflicts"
    expected = {"ours": None, "theirs": 12, "value": 7}[choice]
    assert await rows(db, query) == [(choice, expected, company.owner)]
    with pytest.raises(psycopg.Error, match=r"sync\.conflict_decided"):
        await resolve(db, company, open_one, "ours")


async def test_a_change_is_merged_when_its_last_conflict_is_decided(db: Connection, company: Company) -> None:
    first, second = await conflict(db, company, await add_product(db, company), "price", "name", theirs="12")
    status = "select status from public.sync_changes"
    await resolve(db, company, first, "ours")
    assert await value(db, status) == "conflict"
    await resolve(db, company, second, "theirs")
    assert await value(db, status) == "merged"
    assert await value(db, "select name from public.products") == "12"


async def test_what_cannot_be_written_stays_open(db: Connection, company: Company) -> None:
    [open_one] = await conflict(db, company, await add_product(db, company), "price")
    with pytest.raises(psycopg.Error, match=r"product\.invalid"):
        await resolve(db, company, open_one, "value", -1)
    with pytest.raises(psycopg.Error, match=r"sync\.choice_unknown"):
        await resolve(db, company, open_one, "mine")
    assert await value(db, "select winner from public.sync_conflicts") is None


async def test_a_deletion_or_the_edit_of_what_was_deleted_can_be_chosen(
    db: Connection, company: Company
) -> None:
    one, two = await add_product(db, company, "ONE"), await add_product(db, company, "TWO")
    [deletion] = await conflict(db, company, one, "deleted_at", theirs={"deleted": True})
    await db.execute("update public.products set deleted_at = now() where id = %s", (two,))
    [edit] = await conflict(db, company, two, "deleted_at", theirs={"name": "Back"})
    with pytest.raises(psycopg.Error, match=r"sync\.choice_unknown"):
        await resolve(db, company, edit, "value", 1)
    await resolve(db, company, deletion, "theirs")
    await resolve(db, company, edit, "theirs")
    query = "select name, deleted_at is null from public.products order by sku"
    assert await rows(db, query) == [("Shirt", False), ("Back", True)]


async def test_owners_and_managers_decide(db: Connection, company: Company) -> None:
    [open_one] = await conflict(db, company, await add_product(db, company), "price")
    for role, allowed in (("clerk", False), ("integration", False), ("manager", True)):
        who = await add_member(db, company, role)
        if allowed:
            await resolve(db, company, open_one, "theirs", who=who)
        else:
            with pytest.raises(psycopg.Error, match=r"access\.denied"):
                await resolve(db, company, open_one, "theirs", who=who)


async def test_open_conflicts_become_a_notification_once_a_day(db: Connection, company: Company) -> None:
    await stop_clock(db)
    [open_one] = await conflict(db, company, await add_product(db, company), "price")
    assert await rpc(db, "notify_open_conflicts", p_minutes=60) == {"told": 0}
    await move_clock(db, timedelta(minutes=61))
    assert await rpc(db, "notify_open_conflicts", p_minutes=60) == {"told": 1}
    assert await rpc(db, "notify_open_conflicts", p_minutes=60) == {"told": 0}
    [(kind, title)] = await rows(db, "select kind, title from public.notifications")
    assert (kind, title) == ("sync.conflicts_open", "Edits wait for your decision: 1")
    await move_clock(db, timedelta(days=1))
    assert await rpc(db, "notify_open_conflicts", p_minutes=60) == {"told": 1}
    await move_clock(db, timedelta(days=1))
    await resolve(db, company, open_one, "ours")
    assert await rpc(db, "notify_open_conflicts", p_minutes=60) == {"told": 0}
