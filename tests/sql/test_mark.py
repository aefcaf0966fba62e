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
