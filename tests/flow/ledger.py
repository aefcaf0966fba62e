"""Judges a run by facts: what writers were told is committed, what the log holds, what the receiver verified.

A duplicate is a message that the receiver accepted more than once. It is explained by an incident (a kill, a
crash of Postgres) if it arrived before the incident was over, had not been settled when it began, and came
again after that: it was in flight. Any other is a fault.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from tests.eventually import eventually
from tests.flow.receiver import Hit, Hook
from tests.flow.shop import Shop
from tests.flow.writers import Change, Commit

TYPE = "product.updated"
"""What the endpoints of a `Shop` take."""
LOG = """
select e.seq, e.id, e.type, e.entity_id, e.version from public.events e where e.tenant_id = %s order by e.seq
"""
SETTLED = """
select a.event_id, extract(epoch from max(a.settled_at))::float8 from public.webhook_attempts a
where a.endpoint_id = %s and a.outcome = 'delivered' group by a.event_id
"""
OWED = """
select (select count(*) from private.outbox), (select count(*) from queue.deliveries),
  (select count(*) from queue.retries)
"""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that may leave messages in flight; unix seconds."""

    what: str
    began: float
    ended: float

    def explains(self, first: Hit, again: Hit, settled_at: float) -> bool:
        return first.arrived_at <= self.ended and self.began <= settled_at and self.began <= again.arrived_at


@dataclass(frozen=True)
class Judgement:
    committed: int
    events: int
    """In the log, of the types that the endpoint takes."""
    received: int
    duplicates: int
    explained: int
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """Of one endpoint: the log as (seq, event id, type, change), and when each event was settled."""

    log: Sequence[tuple[int, str, str, Change]]
    settled: Mapping[str, float]


async def judge(
    db_url: str, shop: Shop, hook: Hook, commits: Sequence[Commit], incidents: Sequence[Incident] = ()
) -> Judgement:
    """Call it when everything is delivered. `faults` is empty if nothing was lost, forged or unexplained."""
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        log = await (await connection.execute(LOG, (shop.tenant.id,))).fetchall()
        settled = await (await connection.execute(SETTLED, (shop.endpoint_id(hook),))).fetchall()
    facts = Facts(
        [(seq, key, kind, (entity, version)) for seq, key, kind, entity, version in log], dict(settled)
    )
    return weigh(facts, hook, commits, incidents)


def weigh(facts: Facts, hook: Hook, commits: Sequence[Commit], incidents: Sequence[Incident]) -> Judgement:
    faults = [f"a request did not verify: {why}" for why in hook.forged]
    if (seqs := [row[0] for row in facts.log]) != list(range(1, len(seqs) + 1)):
        faults.append(f"the log is not gapless: {len(seqs)} events, the last seq is {seqs[-1]}")
    logged = {key: change for _, key, kind, change in facts.log if kind == TYPE}
    hits = _by_message(hook.accepted)
    faults += _missing("committed but not in the log", {c.change for c in commits} - set(logged.values()))
    faults += _missing("in the log but not received", logged.keys() - hits.keys())
    faults += _missing("received but not in the log", hits.keys() - logged.keys())
    faults += _missing("received but not settled", hits.keys() - facts.settled.keys())
    faults += _altered(hits, logged)
    pairs = [pair for of_one in hits.values() for pair in itertools.pairwise(of_one)]
    unexplained = [
        again
        for first, again in pairs
        if not any(i.explains(first, again, facts.settled.get(first.message_id, 0.0)) for i in incidents)
    ]
    faults += _missing("duplicates that nothing explains", {hit.message_id for hit in unexplained})
    return Judgement(
        committed=len(commits),
        events=len(logged),
        received=len(hits),
        duplicates=len(pairs),
        explained=len(pairs) - len(unexplained),
        faults=faults,
    )


async def delivered(db_url: str, deadline: float) -> None:
    """Until nothing waits in the outbox, the lanes or the retries any more, as the database tells it."""
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:

        async def nothing_owed() -> bool:
            row = await (await connection.execute(OWED)).fetchone()
            assert row is not None
            assert not any(row), "{} changes, {} deliveries and {} retries are still owed".format(*row)
            return True

        await eventually(nothing_owed, deadline, what="everything is delivered", interval=0.1)


def latencies(hook: Hook, commits: Sequence[Commit]) -> dict[Change, float]:
    """Seconds from each commit to the first arrival of its webhook. Raises `KeyError` if there is none."""
    arrived: dict[Change, float] = {}
    for hit in hook.hits:
        arrived.setdefault(change_of(hit), hit.arrived_at)
    return {commit.change: arrived[commit.change] - commit.at for commit in commits}


def change_of(hit: Hit) -> Change:
    data = hit.event["data"]
    return uuid.UUID(data["object"]["id"]), int(data["version"])


def _by_message(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    grouped: defaultdict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        grouped[hit.message_id].append(hit)
    return grouped


def _altered(hits: dict[str, list[Hit]], logged: dict[str, Change]) -> list[str]:
    """Every attempt must carry the same bytes, and the change that the log holds under its id."""
    differ = {key for key, of_one in hits.items() if len({hit.body for hit in of_one}) > 1}
    strange = {key for key, of_one in hits.items() if key in logged and change_of(of_one[0]) != logged[key]}
    return _missing("attempts differ in their bytes", differ) + _missing("says another change", strange)


def _missing(what: str, found: set[str] | set[Change]) -> list[str]:
    return [f"{what}: {len(found)}, for example {next(iter(found))}"] if found else []
