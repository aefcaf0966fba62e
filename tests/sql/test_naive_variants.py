"""Each guarantee holds for the real thing, and its checker catches the naive variant (DESIGN §2).

A variant is the real function with one fragment exchanged, so nothing but that fragment makes the difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.databases import Connection, Database
from tests.sql import guarantees
from tests.sql.ask import value
from tests.sql.company import Company
from tests.sql.guarantees import Stage

Checker = Callable[[Stage], Awaitable[None]]
DISPATCH = "worker.dispatch_outbox(integer,xid8,text)"
SETTLE = "worker.settle_deliveries(bigint,jsonb,json)"
RING = "private.ring(text)"

GUARANTEES: list[Checker] = [
    guarantees.a_slow_writer_loses_nothing,
    guarantees.dispatchers_that_meet_dispatch_once,
    guarantees.what_is_not_as_the_catalogue_says_stays_inside,
    guarantees.a_stale_token_changes_nothing,
    guarantees.a_committed_write_has_rung_when_another_writer_rolls_back,
    guarantees.a_committed_write_has_rung_before_another_writer_commits,
    guarantees.writers_do_not_wait_for_each_other,
    guarantees.strangers_reach_nothing,
    guarantees.viewers_only_read,
]


@dataclass(frozen=True)
class Naive:
    """What somebody might have written instead: SQL to prepare, then fragments exchanged in one function."""

    name: str
    breaks: Checker
    function: str | None = None
    exchange: tuple[tuple[str, str], ...] = ()
    prepare: tuple[str, ...] = ()


VARIANTS = [
    Naive(
        "a cursor over ids that does not delete",
        guarantees.a_slow_writer_loses_nothing,
        DISPATCH,
        (
            ("o.xid >= p_mark", "o.id > (select c.id from private.cursor c)"),
            (
                "delete from private.outbox o using taken t where o.ctid = t.place",
                "update private.cursor c set id = coalesce((select max(t.id) from taken t), c.id)",
            ),
        ),
        ("create table private.cursor as select 0::bigint as id",),
    ),
    Naive(
        "a mark taken from the newest transaction instead of the oldest open one",
        guarantees.a_slow_writer_loses_nothing,
        DISPATCH,
        (("pg_snapshot_xmin(", "pg_snapshot_xmax("),),
    ),
    Naive(
        "lock and read in one statement",
        guarantees.dispatchers_that_meet_dispatch_once,
        DISPATCH,
        (
            ("perform private.lock_dispatch();", ""),
            (
                "from private.outbox o where",
                "from (select private.lock_dispatch()) l cross join private.outbox o where",
            ),
        ),
    ),
    Naive(
        "webhooks for whatever the map knows",
        guarantees.what_is_not_as_the_catalogue_says_stays_inside,
        DISPATCH,
        (("where n.webhooks and n.fits and not n.wide", "where n.webhooks and not n.wide"),),
    ),
    Naive(
        "an event that is invalid is left out of the log too",
        guarantees.what_is_not_as_the_catalogue_says_stays_inside,
        DISPATCH,
        (("where e.type is not null", "where k.type is not null"),),
    ),
    Naive(
        "settle without a token",
        guarantees.a_stale_token_changes_nothing,
        SETTLE,
        (
            ("l.id = p_token and l.expires_at > v_now", "true"),
            ("l.lease_id = p_token and l.id in", "l.id in"),
        ),
    ),
    Naive(
        "settle that checks the worker's lease but not whose lanes they are",
        guarantees.a_stale_token_changes_nothing,
        SETTLE,
        (
            ("l.id = p_token and l.expires_at > v_now", "l.worker is not null"),
            ("l.lease_id = p_token and l.id in", "l.id in"),
        ),
    ),
    *(
        Naive(
            f"a bell throttle shared between transactions: {checker.__name__}",
            checker,
            RING,
            (
                (
                    "current_setting('pms.rung', true) = 'yes'",
                    "not pg_try_advisory_xact_lock(hashtextextended('one bell at a time', 0))",
                ),
            ),
        )
        for checker in (
            guarantees.a_committed_write_has_rung_when_another_writer_rolls_back,
            guarantees.a_committed_write_has_rung_before_another_writer_commits,
        )
    ),
    Naive(
        "a bell throttle that keeps its mark in a row",
        guarantees.writers_do_not_wait_for_each_other,
        RING,
        (
            (
                "perform set_config('pms.rung', 'yes', true)",
                "update queue.worker_awake set until = until where one",
            ),
        ),
    ),
    Naive(
        "policies without their tenant test",
        guarantees.strangers_reach_nothing,
        prepare=(
            'drop policy "only within one\'s own tenants" on public.products',
            'alter policy "members see their tenant\'s products" on public.products using (true)',
        ),
    ),
    *(
        Naive(
            f"a policy that forgets the permission: {change}", guarantees.viewers_only_read, prepare=(change,)
        )
        for change in (
            'alter policy "managers add products to their tenant" on public.products with check (true)',
            (
                'alter policy "managers change their tenant\'s products" on public.products'
                " using (true) with check (true)"
            ),
            'alter policy "managers delete their tenant\'s products" on public.products using (true)',
        )
    ),
]


@pytest.fixture
def stage(
    database: Database, company: Company, db: Connection, other: Connection, third: Connection
) -> Stage:
    return Stage(database, company, db, other, third)


@pytest.mark.parametrize("holds", GUARANTEES, ids=lambda checker: checker.__name__)
async def test_the_real_one_holds(stage: Stage, holds: Checker) -> None:
    await holds(stage)


@pytest.mark.parametrize("naive", VARIANTS, ids=lambda naive: naive.name.replace(" ", "-"))
async def test_the_naive_one_is_caught(stage: Stage, naive: Naive) -> None:
    for statement in naive.prepare:
        await stage.db.execute(statement.encode())
    if naive.function:
        await spoil(stage.db, naive.function, naive.exchange)
    with pytest.raises(AssertionError):
        await naive.breaks(stage)


def test_every_guarantee_is_shown_able_to_fail() -> None:
    assert {naive.breaks for naive in VARIANTS} == set(GUARANTEES)


async def spoil(db: Connection, function: str, exchange: tuple[tuple[str, str], ...]) -> None:
    source: str = await value(db, "select pg_get_functiondef(%s::regprocedure)", function)
    for real, naive in exchange:
        if source.count(real) != 1:
            pytest.fail(f"{function} no longer holds this fragment once: {real}", pytrace=False)
        source = source.replace(real, naive)
    await db.execute(source.encode())
