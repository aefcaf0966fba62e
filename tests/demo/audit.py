"""The books: what the log says must have arrived, and what the receivers hold, compared to the byte."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from tests.demo.receiver import Inbox
from tests.demo.stage import Company, Stage, expect, json_of, read_all
from tests.eventually import DidNotHappenError, eventually
from tests.stack.platform import Platform

SETTLED_WITHIN: Final = 60.0
"""Seconds; the first retry comes after 5 s."""

LOG: Final = """
    select e.tenant_id::text, e.seq, e.id, e.type, e.entity_id::text, convert_to(e.body, 'UTF8'), exists (
      select from private.event_map m where m.webhooks and e.type = m.entity || '.' || m.verb
    )
    from public.events e
    order by e.tenant_id, e.seq
"""


@dataclass(frozen=True)
class Logged:
    tenant_id: str
    seq: int
    id: str
    type: str
    entity_id: str
    body: bytes
    for_webhooks: bool


def expect_no_problems(stage: Stage) -> None:
    """Every delivery so far verified."""
    problems = [problem for inbox in stage.receiver.inboxes for problem in inbox.problems]
    expect(not problems, f"{len(problems)} deliveries did not verify: {' / '.join(problems[:3])}")


async def wait_until_settled(stage: Stage) -> str:
    """Nothing is left to send: no change undispatched, no delivery pending, no retry waiting."""
    status = stage.people.service(schema="worker")

    async def nothing_left() -> bool:
        left = json_of(await status.post("/rpc/worker_status", json={}), "worker_status")
        counts = (left["outbox"]["depth"], left["deliveries"]["pending"], left["retries"]["waiting"])
        expect_no_problems(stage)
        stage.say("to dispatch {}, to send {}, to send again {}".format(*counts))
        return not any(counts)

    try:
        await eventually(nothing_left, SETTLED_WITHIN, interval=0.1, what="an empty queue")
    except DidNotHappenError as error:
        expect(False, str(error))
    refused = sum(inbox.refused for inbox in stage.receiver.inboxes)
    return f"nothing left to send: all {refused} answered 500 came again and were taken"


async def compare(stage: Stage) -> str:
    """Every event of the log is where it belongs, every attempt explained, nothing else arrived."""
    expect_no_problems(stage)
    log = await _read_log(stage.platform)
    for company in stage.companies:
        own = [event for event in log if event.tenant_id == company.tenant_id]
        seqs = [event.seq for event in own]
        expect(seqs == list(range(1, len(own) + 1)), f"the log of {company.name} has a gap: {seqs}")
        await _compare_owner(company)
        for inbox in company.inboxes:
            compare_inbox(inbox, own)
    stage.figures["events"] = len(log)
    verified = sum(len(inbox.receipts) for inbox in stage.receiver.inboxes)
    return f"{len(log)} events without a gap; {verified} deliveries, byte for byte, none missing"


def compare_inbox(inbox: Inbox, log: list[Logged]) -> None:
    """From the endpoint's own birth on, exactly what its filter lets through; before it, nothing is owed."""
    birth = next(event.seq for event in log if event.entity_id == inbox.endpoint_id)
    owed = {event.id for event in log if event.for_webhooks and event.seq > birth and inbox.wants(event.type)}
    missing = owed - inbox.receipts.keys()
    expect(
        not missing,
        f"{inbox.name}: {len(missing)} of {len(owed)} never arrived, such as {min(missing, default='')}",
    )
    by_id = {event.id: event for event in log}
    for receipt in inbox.receipts.values():
        event = by_id.get(receipt.event_id)
        expect(event and event.for_webhooks, f"{inbox.name}: {receipt.event_id} is not in the log")
        assert event is not None
        same = (event.body, event.seq, event.type) == (receipt.body, receipt.seq, receipt.type)
        expect(same, f"{inbox.name}: {receipt.event_id} differs from the log")


async def _compare_owner(company: Company) -> None:
    """What the owner sees of the deliveries under RLS must be what the receivers saw, answer by answer."""
    seen: dict[tuple[str, str], list[int]] = defaultdict(list)
    query = {"select": "endpoint_id,event_id,attempt,status", "order": "delivery_id,attempt"}
    for attempt in await read_all(company.rest, "/webhook_attempts", query):
        seen[attempt["endpoint_id"], attempt["event_id"]].append(attempt["status"])
    query = {"select": "delivery_id,endpoint_id,status", "order": "delivery_id"}
    deliveries = await read_all(company.rest, "/webhook_deliveries", query)
    undone = [row for row in deliveries if row["status"] != "delivered"]
    expect(not undone, f"{company.name}: {len(undone)} deliveries are not done, such as {undone[:1]}")
    for inbox in company.inboxes:
        count = sum(row["endpoint_id"] == inbox.endpoint_id for row in deliveries)
        verified = len(inbox.receipts)
        expect(
            count == verified,
            f"{inbox.name}: its owner sees {count} delivered, the receiver verified {verified}",
        )
        logged = {event: given for (endpoint, event), given in seen.items() if endpoint == inbox.endpoint_id}
        explain(inbox, logged)


def explain(inbox: Inbox, logged: dict[str, list[int]]) -> None:
    """The answers given, by event and in order, are those that the attempts record."""
    odd = {
        event
        for event in inbox.answers.keys() | logged.keys()
        if inbox.answers.get(event) != logged.get(event)
    }
    example = next(iter(odd), "")
    expect(
        not odd,
        f"{inbox.name}: {example} was answered {inbox.answers.get(example)}"
        f" but its attempts say {logged.get(example)}",
    )


async def _read_log(platform: Platform) -> list[Logged]:
    """As the database's owner: an auditor goes to the books themselves."""
    async with await psycopg.AsyncConnection.connect(platform.db_url, connect_timeout=10) as connection:
        rows: list[tuple[Any, ...]] = await (await connection.execute(LOG)).fetchall()
    return [Logged(*row) for row in rows]
