"""What the sink saw of a tenant's deliveries, held against the log: lost, twice, altered, unexplained.

An event is one delivery for each of the tenant's endpoints; a duplicate is a delivery that arrived again. As
in tests/flow/ledger.py it is explained by an incident if it was in flight then: it had come before that was
over, was not settled when it began, and came again after that.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from tests.bench.outlets import Outlets
from tests.bench.sink_process import Arrival
from tests.flow.ledger import Incident, Judgement
from tests.flow.writers import Change, Commit

Delivery = tuple[str, str]
"""Path and webhook-id."""
LOG = """
select e.id, e.entity_id, e.version, e.seq from public.events e
where e.tenant_id = %s and e.type = 'product.updated'
"""
SETTLED = """
select e.url, a.event_id, extract(epoch from max(a.settled_at))::float8
from public.webhook_attempts a join public.webhook_endpoints e on e.id = a.endpoint_id
where a.tenant_id = %s and a.outcome = 'delivered' group by e.url, a.event_id
"""


@dataclass(frozen=True)
class Tally:
    judgement: Judgement
    in_flight: list[int]
    """For each incident: deliveries that had come before it was over and were settled after it began."""


async def tally(
    db_url: str,
    outlets: Outlets,
    base: str,
    *,
    commits: Sequence[Commit],
    arrivals: Sequence[Arrival],
    incidents: Sequence[Incident] = (),
) -> Tally:
    """Call it when everything is delivered. `base`: the sink's address, before the paths."""
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        log = await (await connection.execute(LOG, (outlets.tenant,))).fetchall()
        rows = await (await connection.execute(SETTLED, (outlets.tenant,))).fetchall()
    settled: dict[Delivery, float] = {(url.removeprefix(base), key): at for url, key, at in rows}
    logged: dict[Change, str] = {(entity, int(version)): key for key, entity, version, _ in log}
    owed = {(path, key) for path in outlets.secrets for key in logged.values()}
    came: defaultdict[Delivery, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        came[(arrival.path, arrival.message_id)].append(arrival)
    pairs = [pair for of_one in came.values() for pair in itertools.pairwise(of_one)]
    unexplained = [
        again
        for first, again in pairs
        if not any(_explains(i, first, again, settled.get(_key(first), 0.0)) for i in incidents)
    ]
    faults = [
        *_said("committed but not in the log", {commit.change for commit in commits} - logged.keys()),
        *_said("owed but not received", owed - came.keys()),
        *_said("received but not owed", came.keys() - owed),
        *_said("received but not settled", came.keys() - settled.keys()),
        *_said("altered between two arrivals", set(_altered(arrivals))),
        *_said("duplicates that nothing explains", {_key(arrival) for arrival in unexplained}),
    ]
    judgement = Judgement(
        committed=len(commits) * len(outlets.secrets),
        events=len(owed),
        received=len(came),
        duplicates=len(pairs),
        explained=len(pairs) - len(unexplained),
        faults=faults,
    )
    in_flight = [
        sum(of_one[0].at <= i.ended and i.began <= settled.get(key, 0.0) for key, of_one in came.items())
        for i in incidents
    ]
    return Tally(judgement, in_flight)


def _key(arrival: Arrival) -> Delivery:
    return (arrival.path, arrival.message_id)


def _explains(incident: Incident, first: Arrival, again: Arrival, settled_at: float) -> bool:
    return first.at <= incident.ended and incident.began <= settled_at and incident.began <= again.at


def _altered(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Events whose body was not the same bytes each time, at whatever endpoint."""
    checksums: dict[str, int] = {}
    for arrival in arrivals:
        if checksums.setdefault(arrival.message_id, arrival.checksum) != arrival.checksum:
            yield arrival.message_id


def _said(what: str, found: set[Delivery] | set[Change] | set[str]) -> list[str]:
    return [f"{what}: {len(found)}, for example {next(iter(found))}"] if found else []
