"""Who pulled what: a client is as far as the cursor that it sent, and who may see that."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, open_transaction, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product, add_products, found_company
from tests.sql.dispatching import drain
from tests.sql.test_sync_pull import Page, begin, pull

KNOWN: LiteralString = (
    "select client, principal_id, seq from public.sync_clients order by client, first_seen_at"
)
ROW: LiteralString = "select ctid::text || xmin::text from public.sync_clients where client = 'till'"


async def till(db: Connection, company: Company, cursor: str | None, **more: Any) -> Page:
    return await pull(db, company, cursor, p_client="till", **more)


async def test_a_client_is_as_far_as_the_cursor_that_it_sent(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await add_products(db, company, 4)
    await drain(db)
    first = await till(db, company, cursor, p_limit=3)
    assert first["through"] == 5
    assert await rows(db, KNOWN) == [("till", company.owner, 2)], "the answer may be lost"
    await till(db, company, first["cursor"])
    assert await rows(db, KNOWN) == [("till", company.owner, 5)]
    await till(db, company, None)
    assert await rows(db, KNOWN) == [("till", company.owner, 0)], "it begins again and has nothing"


async def test_pulls_without_a_name_or_a_principal_leave_no_word(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await pull(db, company, cursor)
    async with acting_as(db, role="service_role"):
        arguments = {"p_tenant_id": company.tenant_id, "p_cursor": cursor, "p_client": "till"}
        assert (await call(db, "public", "pull_changes", **arguments))["changes"] == []
    assert await rows(db, KNOWN) == []


async def test_what_is_no_news_is_noted_every_five_seconds_in_place(db: Connection, company: Company) -> None:
    await stop_clock(db)
    cursor = await begin(db, company)
    await till(db, company, cursor)
    written = await value(db, ROW)
    await move_clock(db, timedelta(seconds=4.9))
    await till(db, company, cursor)
    assert await value(db, ROW) == written
    await move_clock(db, timedelta(seconds=0.1))
    await till(db, company, cursor)
    assert await value(db, ROW) != written
    age = "select private.now() - pulled_at from public.sync_clients"
    assert await value(db, age) == timedelta(0)
    indexed = (
        "select array_agg(a.attname order by a.attnum) from pg_index i join pg_attribute a"
        " on a.attrelid = i.indrelid and a.attnum = any (i.indkey)"
        " where i.indrelid = 'public.sync_clients'::regclass"
    )
    known = ["tenant_id", "principal_id", "client", "pulled_on"]
    assert await value(db, indexed) == known, "else it moves at every pull"
    async with open_transaction(db):
        in_place: LiteralString = (
            "select pg_stat_get_xact_tuples_hot_updated('public.sync_clients'::regclass)"
        )
        before = await value(db, in_place)
        await db.execute("update public.sync_clients set seq = 9, pulled_at = pulled_at + interval '1 s'")
        assert await value(db, in_place) == before + 1


async def test_a_client_that_is_behind_says_since_when(db: Connection, company: Company) -> None:
    await stop_clock(db)
    cursor = await begin(db, company)
    since: LiteralString = "select private.now() - behind_since from public.sync_clients"
    await till(db, company, cursor)
    assert await value(db, since) is None
    await add_product(db, company)
    await drain(db)
    await move_clock(db, timedelta(seconds=7))
    page = await till(db, company, cursor)
    assert await value(db, since) == timedelta(seconds=7)
    await till(db, company, page["cursor"])
    assert await value(db, since) is None


async def test_a_client_that_must_read_the_tables_lags_by_what_the_log_still_has(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    since: LiteralString = "select private.now() - behind_since from public.sync_clients"
    cursor = await begin(db, company)
    await move_clock(db, timedelta(hours=1))
    await add_products(db, company, 2)
    await drain(db)
    await move_clock(db, timedelta(hours=1))
    assert (await till(db, company, None))["must_snapshot"] == "start"
    assert await value(db, since) == timedelta(hours=2), "it has nothing, of what was said before either"
    await till(db, company, cursor)
    assert await value(db, since) == timedelta(hours=1)
    await db.execute("delete from public.events where seq < 5")
    await move_clock(db, timedelta(hours=1))
    await add_product(db, company)
    await drain(db)
    assert (await till(db, company, cursor))["must_snapshot"] == "retention"
    assert await value(db, since) == timedelta(hours=2), "the log forgot it, the client lacks it still"
    await move_clock(db, timedelta(minutes=1))
    await till(db, company, "abc:9")
    assert await value(db, since) == timedelta(minutes=1), "of another history it has nothing"


async def test_a_principal_has_a_hundred_clients_in_a_tenant(
    db: Connection, other: Connection, company: Company
) -> None:
    """Names cost nothing, and each would be a row for 30 days."""
    await stop_clock(db)
    clerk = await add_member(db, company, "clerk")
    await pull(db, company, None, who=clerk, p_client="theirs")
    for n in range(102):
        await move_clock(db, timedelta(seconds=6))
        await pull(db, company, None, p_client=f"till-{n}")
        await pull(db, company, None, p_client="till-0")
    names = {name for name, _, _ in await rows(db, KNOWN)}
    assert names == {"theirs", "till-0"} | {f"till-{n}" for n in range(3, 102)}, "those that are used"
    async with open_transaction(other):
        await other.execute("update public.sync_clients set seq = seq where client = 'till-3'")
        await db.execute("set lock_timeout = '5s'")
        await pull(db, company, None, p_client="more")
    assert await value(db, "select count(*) from public.sync_clients") == 102, "nobody waits for one"
    await pull(db, company, None, p_client="most")
    assert await value(db, "select count(*) from public.sync_clients") == 101


async def test_a_name_is_bounded(db: Connection, company: Company) -> None:
    for bad in ("", "a b", "x" * 65, "till\n"):
        with pytest.raises(psycopg.Error, match=r"sync\.client_invalid"):
            await pull(db, company, None, p_client=bad)


async def test_people_see_their_own_clients_and_managers_all(db: Connection, company: Company) -> None:
    clerk, other = await add_member(db, company, "clerk"), await add_member(db, company, "clerk")
    rival = await found_company(db, "rival")
    await till(db, company, None, who=clerk)
    await till(db, company, None)
    await till(db, rival, None)
    for who, seen in ((clerk, 1), (other, 0), (company.owner, 2), (rival.owner, 1)):
        async with acting_as(db, who):
            assert len(await rows(db, KNOWN)) == seen
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await till(db, company, None, who=rival.owner)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, clerk):
            await db.execute("update public.sync_clients set seq = 99")


async def test_a_row_that_somebody_holds_holds_up_no_pull(
    db: Connection, other: Connection, company: Company
) -> None:
    """A pull that waits for dispatch holds its lock to the end: all tenants would wait for that row."""
    await till(db, company, None)
    cursor = await begin(db, company)
    await add_product(db, company)
    async with open_transaction(other):
        await other.execute("update public.sync_clients set seq = 1")
        await db.execute("set lock_timeout = '5s'")
        assert len((await till(db, company, cursor, p_wait=True))["changes"]) == 1
    assert await rows(db, KNOWN) == [("till", company.owner, 0)]
    await till(db, company, cursor)
    assert await rows(db, KNOWN) == [("till", company.owner, 2)]


async def test_a_client_that_is_unseen_for_thirty_days_is_forgotten(db: Connection, company: Company) -> None:
    await stop_clock(db)
    cursor = await begin(db, company)
    for name in ("till", "phone", "old-1", "old-2"):
        await pull(db, company, cursor, p_client=name)
    await move_clock(db, timedelta(days=29))
    for name in ("till", "phone"):
        await pull(db, company, cursor, p_client=name)
    await move_clock(db, timedelta(days=2))
    assert (await rpc(db, "forget_changes", p_limit=1))["more"]
    assert (await rpc(db, "forget_changes"))["more"] is False
    assert [name for name, _, _ in await rows(db, KNOWN)] == ["phone", "till"]


async def test_two_people_may_have_a_client_of_one_name(db: Connection, company: Company) -> None:
    clerk = await add_member(db, company, "clerk")
    cursor = await begin(db, company)
    await till(db, company, cursor)
    await till(db, company, None, who=clerk)
    found: dict[uuid.UUID, int] = {who: seq for _, who, seq in await rows(db, KNOWN)}
    assert found[clerk] == 0
    assert found[company.owner] > 0
