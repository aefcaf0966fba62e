"""The mark: dispatch skips what an earlier call has seen, and nothing else."""

from __future__ import annotations

from tests.databases import Connection
from tests.sql.ask import column, open_transaction, rpc, value
from tests.sql.company import Company, add_product, add_products, rename
from tests.sql.dispatching import LOG, drain


async def test_a_late_commit_below_nobodys_mark_is_still_seen(
    db: Connection, other: Connection, company: Company
) -> None:
    product, twin = await add_products(db, company, 2)
    async with open_transaction(other):
        await rename(other, product, "Slow")
        late = await value(other, "select pg_current_xact_id()::text::bigint")
        await rename(db, twin, "Fast")
        mark = await drain(db)
        assert int(mark) <= late, "the mark stops at the transaction that is still open"
        await other.commit()
    answer = await rpc(db, "dispatch_outbox", p_mark=mark)
    assert (answer["events"], answer["drained"]) == (1, True)
    assert int(answer["mark"]) > late
    assert await column(db, LOG, company.tenant_id) == [1, 2, 3, 4, 5, 6]


async def test_a_call_that_was_cut_short_keeps_its_mark(db: Connection, company: Company) -> None:
    await add_products(db, company, 5)
    answer = await rpc(db, "dispatch_outbox", p_limit=3)
    assert (answer["drained"], answer["mark"]) == (False, "0")
    answer = await rpc(db, "dispatch_outbox", p_limit=100, p_mark=answer["mark"])
    assert (answer["events"], answer["drained"]) == (4, True)


async def test_a_mark_from_before_a_restore_is_ignored(db: Connection, company: Company) -> None:
    await drain(db)
    ahead = str(await value(db, "select pg_current_xact_id()::text::bigint") + 1_000_000)
    await add_product(db, company)
    answer = await rpc(db, "dispatch_outbox", p_mark=ahead)
    assert answer["events"] == 1
    assert int(answer["mark"]) < int(ahead)


async def test_a_mark_has_a_commit_on_disk_above_it(db: Connection, company: Company) -> None:
    # ids that left no trace on disk come again after a crash: nothing written under them may be hidden
    mark = await drain(db)
    await db.execute(
        "do $$ begin perform pg_current_xact_id(); raise exception 'x'; exception when others then end $$"
    )
    kept = await rpc(db, "dispatch_outbox", p_mark=mark)
    assert kept["mark"] == mark, "an empty look keeps the mark rather than write"
    fresh = await rpc(db, "dispatch_outbox")
    assert int(fresh["mark"]) > int(mark)
    status = await value(db, "select pg_xact_status(%s::text::xid8)", fresh["mark"])
    assert status == "committed", "a mark that moved was moved by a transaction of its own"
