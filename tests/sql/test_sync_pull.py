"""Pulling the log: every page proves its range, and whoever cannot go on is told so."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import call, open_transaction, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product, add_products, found_company, rename
from tests.sql.dispatching import drain

Page = dict[str, Any]
PRODUCTS: LiteralString = (
    "select id, version, name from public.products where tenant_id = %s and deleted_at is null"
)


async def pull(
    db: Connection, company: Company, cursor: str | None, *, who: uuid.UUID | None = None, **more: object
) -> Page:
    async with acting_as(db, who or company.owner):
        page: Page = await call(
            db, "public", "pull_changes", p_tenant_id=company.tenant_id, p_cursor=cursor, **more
        )
    return page


async def begin(db: Connection, company: Company) -> str:
    """The cursor after all that is in the log."""
    await drain(db)
    page = await pull(db, company, None)
    assert page["must_snapshot"] == "start"
    return str(page["cursor"])


def types(page: Page) -> list[str]:
    return [change["event"]["type"] for change in page["changes"]]


@dataclass
class Copy:
    """What a client keeps: rows by version, and the proof of how far it read."""

    db: Connection
    company: Company
    cursor: str = ""
    rows: dict[str, tuple[int, str | None]] = field(default_factory=dict)

    async def snapshot(self) -> None:
        """Cursor first, then the table: whatever changes meanwhile comes with the stream."""
        self.cursor = (await pull(self.db, self.company, None))["cursor"]
        async with acting_as(self.db, self.company.owner):
            for key, version, name in await rows(self.db, PRODUCTS, self.company.tenant_id):
                self.apply(str(key), version, name)

    async def pull(self, limit: int = 500) -> bool:
        """One page; whether it has everything now."""
        page = await pull(self.db, self.company, self.cursor, p_limit=limit)
        assert page["from"] == int(self.cursor.partition(":")[2]) + 1
        for change in page["changes"]:
            if change["entity"] == "product":
                row = change["event"]["data"]["object"]
                gone = change["event"]["type"] == "product.deleted" or row["deleted_at"] is not None
                self.apply(change["entity_id"], change["version"], None if gone else row["name"])
        self.cursor = page["cursor"]
        return bool(page["through"] == page["head"])

    def apply(self, key: str, version: int, name: str | None) -> None:
        if version > self.rows.get(key, (0, ""))[0]:
            self.rows[key] = (version, name)

    @property
    def names(self) -> dict[str, str]:
        return {key: name for key, (_, name) in self.rows.items() if name is not None}


async def names_of(db: Connection, company: Company) -> dict[str, str]:
    return {str(key): name for key, _, name in await rows(db, PRODUCTS, company.tenant_id)}


# -- pages ---------------------------------------------------------------------------------------------------


async def test_pages_tile_the_log(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await add_products(db, company, 10)
    await drain(db)
    seen: list[int] = []
    for expected in ([3, 6], [7, 10], [11, 12]):
        page = await pull(db, company, cursor, p_limit=4)
        assert [page["from"], page["through"]] == expected
        assert page["head"] == 12
        seen += [change["event"]["seq"] for change in page["changes"]]
        cursor = page["cursor"]
    assert seen == list(range(3, 13))
    end = await pull(db, company, cursor)
    assert (end["from"], end["through"], end["head"], end["changes"]) == (13, 12, 12, [])
    assert end["cursor"] == cursor


async def test_a_change_is_what_webhooks_get_and_names_its_row_version_and_command(
    db: Connection, company: Company
) -> None:
    cursor = await begin(db, company)
    product = await add_product(db, company, name="Boot")
    await db.execute("select set_config('pms.command_id', 'cart-2', false)")
    await rename(db, product, "Boots")
    await drain(db)
    created, renamed = (await pull(db, company, cursor))["changes"]
    assert {**renamed, "event": ...} == {
        "entity": "product",
        "entity_id": str(product),
        "version": 2,
        "command_id": "cart-2",
        "event": ...,
    }
    assert created["command_id"] is None
    body = await value(db, "select body::jsonb from public.events where id = %s", renamed["event"]["id"])
    assert renamed["event"] == body


async def test_a_deletion_comes_with_the_last_state(db: Connection, company: Company) -> None:
    product = await add_product(db, company, name="Boot")
    cursor = await begin(db, company)
    await db.execute("delete from public.products where id = %s", (product,))
    await drain(db)
    [change] = (await pull(db, company, cursor))["changes"]
    assert (change["event"]["type"], change["version"]) == ("product.deleted", 2)
    assert change["event"]["data"]["object"]["name"] == "Boot"


async def test_what_one_may_not_read_is_no_loss(db: Connection, company: Company) -> None:
    clerk = await add_member(db, company, "clerk")
    cursor = await begin(db, company)
    await add_product(db, company)
    await add_member(db, company, "viewer")
    await drain(db)
    whole = await pull(db, company, cursor)
    assert types(whole) == ["product.created", "membership.created"]
    page = await pull(db, company, cursor, who=clerk)
    assert types(page) == ["product.created"]
    assert (page["from"], page["through"]) == (whole["from"], whole["through"])


async def test_every_entity_s_events_are_read_by_whoever_reads_its_rows(
    db: Connection, company: Company
) -> None:
    """The permission stands there a second time: it must be the one that the table's policy asks for."""
    told = dict(await rows(db, "select relation, read_permission from private.logged_entities"))
    assert len(told) == 13
    for relation, permission in told.items():
        schema, _, table = relation.rpartition(".")
        asked = await value(
            db,
            "select string_agg(qual, ' ') from pg_policies where schemaname = %s and tablename = %s"
            " and cmd = 'SELECT' and permissive = 'PERMISSIVE'",
            schema or "public",
            table,
        )
        assert f"'{permission}'" in str(asked), relation


async def test_strangers_and_bad_cursors_are_refused(db: Connection, company: Company) -> None:
    stranger = (await found_company(db, "rival")).owner
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await pull(db, company, None, who=stranger)
    for bad in ("", "12", "abc:", "abc:1x", "XYZ:1", "abc:-1", "abc:" + "9" * 19):
        with pytest.raises(psycopg.Error, match=r"sync\.cursor_invalid"):
            await pull(db, company, bad)


async def test_who_waits_reads_their_own_writes(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await add_product(db, company)
    assert types(await pull(db, company, cursor)) == [], "nobody dispatched it"
    page = await pull(db, company, cursor, p_wait=True)
    assert (types(page), page["behind"]) == (["product.created"], False)


async def test_who_waits_for_much_is_told_to_ask_again_and_holds_nobody_up(
    db: Connection, company: Company
) -> None:
    """One call for all of it would lose all of it to a time limit, and all tenants wait for its lock."""
    cursor = await begin(db, company)
    await add_products(db, company, 3000)
    first = await pull(db, company, cursor, p_wait=True, p_limit=5000)
    assert (first["through"] - first["from"] + 1, first["behind"]) == (2000, True)
    second = await pull(db, company, first["cursor"], p_wait=True, p_limit=5000)
    assert (second["through"] - second["from"] + 1, second["behind"]) == (1000, False)
    await add_products(db, await found_company(db, "rival"), 3000)
    assert not (await pull(db, company, second["cursor"], p_wait=True))["behind"]
    assert await value(db, "select count(*) from private.outbox") > 2900, (
        "others' changes are not its concern"
    )


# -- when it cannot go on ------------------------------------------------------------------------------------


async def test_a_hole_and_a_cut_tail_are_told(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await add_products(db, company, 6)
    await drain(db)
    async with open_transaction(db):
        await db.execute("delete from public.events where seq = 5")
        page = await pull(db, company, cursor)
        assert (page["must_snapshot"], page["head"]) == ("gap", 8)
        first = await pull(db, company, cursor, p_limit=2)
        assert first["through"] == 4, "as far as it is whole"
        assert (await pull(db, company, first["cursor"], p_limit=2))["must_snapshot"] == "gap"
        await db.execute("rollback")
    async with open_transaction(db):
        await db.execute("delete from public.events where seq >= 7")
        assert (await pull(db, company, cursor))["must_snapshot"] == "gap"
        await db.execute("rollback")
    assert len((await pull(db, company, cursor))["changes"]) == 6


async def test_another_history_and_a_log_that_was_set_back_are_told(db: Connection, company: Company) -> None:
    cursor = await begin(db, company)
    await db.execute("update private.tenant_log set seq = seq - 1")
    assert (await pull(db, company, cursor))["must_snapshot"] == "ahead"
    await db.execute("update private.log_epoch set epoch = 'abc123'")
    page = await pull(db, company, cursor)
    assert (page["must_snapshot"], page["epoch"]) == ("epoch", "abc123")
    assert page["cursor"].startswith("abc123:")


async def test_a_client_past_retention_is_told_and_one_that_has_all_is_not(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    old = await begin(db, company)
    await add_product(db, company)
    latest = await begin(db, company)
    await move_clock(db, dt.timedelta(days=40))
    await rpc(db, "make_partitions")
    await rpc(db, "drop_partitions", p_keep_days=30)
    assert await value(db, "select count(*) from public.events") == 0
    assert "must_snapshot" not in await pull(db, company, latest), "there was nothing after it"
    assert (await pull(db, company, old))["must_snapshot"] == "retention"
    await add_product(db, company, "LATER")
    await drain(db)
    assert (await pull(db, company, old))["must_snapshot"] == "retention"
    assert types(await pull(db, company, latest)) == ["product.created"]


# -- nothing is lost -----------------------------------------------------------------------------------------


async def test_slow_writers_lose_nothing_but_to_a_client_that_asks_for_what_is_newer(
    db: Connection, other: Connection, company: Company
) -> None:
    product, slow = await add_products(db, company, 2)
    copy = Copy(db, company)
    await drain(db)
    await copy.snapshot()
    naive = {str(key): name for key, _, name in await rows(db, PRODUCTS, company.tenant_id)}
    newest: LiteralString = "select max(updated_at) from public.products"
    last = await value(db, newest)

    await other.execute("begin")
    await rename(other, slow, "slow")
    await rename(db, product, "quick")
    changed: LiteralString = "select id, name from public.products where updated_at > %s"
    naive |= {str(key): name for key, name in await rows(db, changed, last)}
    last = await value(db, newest)
    await drain(db)
    await copy.pull()
    await other.execute("commit")
    await drain(db)
    naive |= {str(key): name for key, name in await rows(db, changed, last)}
    assert await copy.pull()
    assert copy.names == await names_of(db, company)
    assert naive != await names_of(db, company), "it never sees what was committed late"


async def test_a_snapshot_meets_its_stream_without_a_hole(
    database: Database, db: Connection, company: Company
) -> None:
    """Writers and dispatch go on while the table is read, a page at a time."""
    products = await add_products(db, company, 8)
    writing = asyncio.Event()

    async def write(number: int) -> None:
        session = await database.connect()
        for step in range(30):
            await rename(session, products[(number + step) % 8], f"{number}.{step}")
            if step % 7 == number % 7:
                await add_product(session, company, f"NEW-{number}-{step}")
            if step % 11 == 10:
                await session.execute(
                    "delete from public.products where sku = %s", (f"NEW-{number}-{step - 7}",)
                )

    async def dispatch() -> None:
        session = await database.connect()
        while not writing.is_set():
            await rpc(session, "dispatch_outbox", p_limit=5)

    dispatching = asyncio.create_task(dispatch())
    writers = [asyncio.create_task(write(number)) for number in range(4)]
    copies = [Copy(await database.connect(), company) for _ in range(3)]
    for copy in copies:
        await copy.snapshot()
        await copy.pull(limit=3)
    await asyncio.gather(*writers)
    writing.set()
    await dispatching
    await drain(db)
    expected = await names_of(db, company)
    for copy in copies:
        while not await copy.pull(limit=50):
            pass
        assert copy.names == expected
