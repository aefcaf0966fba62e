"""The judge must be able to say no: each fault that a run may have, made by hand."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from tests.flow.ledger import TYPE, Facts, Incident, Judgement, weigh
from tests.flow.receiver import Hit, Hook, Receiver, ok
from tests.flow.writers import Commit

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRODUCTS = [uuid.uuid4() for _ in range(3)]
COMMITS = [Commit(product, 2, at=10.0) for product in PRODUCTS]
CRASH = Incident("crash", began=20.0, ended=21.0)
FACTS = Facts(
    log=[(n, f"evt_{n}", TYPE, commit.change) for n, commit in enumerate(COMMITS, start=1)],
    settled={f"evt_{n}": 30.0 for n in (1, 2, 3, 9)},
)


def hit(number: int, at: float = 15.0, version: int = 2) -> Hit:
    data = {"object": {"id": str(PRODUCTS[number - 1])}, "version": version}
    return Hit(f"evt_{number}", at, 1, 204, json.dumps({"seq": number, "data": data}).encode())


async def judged(hits: list[Hit], facts: Facts = FACTS, commits: list[Commit] = COMMITS) -> Judgement:
    hook = Hook("http://127.0.0.1/hook", ok)
    hook.hits = hits
    return weigh(facts, hook, commits, [CRASH])


async def test_a_clean_run_has_no_faults() -> None:
    assert await judged([hit(1), hit(2), hit(3)]) == Judgement(3, 3, 3, 0, 0, [])


async def test_a_duplicate_that_was_in_flight_at_an_incident_is_explained() -> None:
    verdict = await judged([hit(1), hit(2), hit(3), hit(1, at=25.0)])
    assert (verdict.duplicates, verdict.explained, verdict.faults) == (1, 1, [])


@pytest.mark.parametrize(
    ("hits", "facts", "commits", "fault"),
    [
        ([hit(1), hit(3)], FACTS, COMMITS, "in the log but not received"),
        ([hit(1), hit(2), hit(3), replace(hit(1), message_id="evt_9")], FACTS, COMMITS, "not in the log"),
        ([hit(1), hit(2), hit(3)], FACTS, [*COMMITS, Commit(PRODUCTS[0], 3, 10.0)], "committed but not"),
        ([hit(1), hit(2)], replace(FACTS, log=[*FACTS.log[:1], (3, *FACTS.log[1][1:])]), [], "gapless"),
        ([hit(1), hit(2), hit(3, version=7)], FACTS, COMMITS, "says another change"),
        ([hit(1), hit(2), hit(3), hit(3, at=25.0, version=7)], FACTS, COMMITS, "differ in their bytes"),
        ([hit(1), hit(2), hit(3)], replace(FACTS, settled={}), COMMITS, "received but not settled"),
        # twice before the crash, twice after it, and again though it had been settled before it
        ([hit(1), hit(1), hit(2), hit(3)], FACTS, COMMITS, "nothing explains"),
        ([hit(1, at=22.0), hit(1, at=23.0), hit(2), hit(3)], FACTS, COMMITS, "nothing explains"),
        (
            [hit(1), hit(1, at=25.0), hit(2), hit(3)],
            replace(FACTS, settled={**FACTS.settled, "evt_1": 16.0}),
            COMMITS,
            "nothing explains",
        ),
    ],
)
async def test_a_faulty_run_is_found_out(
    hits: list[Hit], facts: Facts, commits: list[Commit], fault: str
) -> None:
    (found,) = (await judged(hits, facts, commits)).faults
    assert fault in found


async def test_the_receiver_takes_nothing_that_is_not_signed() -> None:
    async with Receiver() as receiver, httpx.AsyncClient(trust_env=False) as client:
        hook = receiver.hook("shop")
        hook.trust(SECRET)
        body, now = '{"seq": 1}', datetime.now(UTC)
        headers = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign("evt_1", now, body),
        }
        assert (await client.post(hook.url, content=body, headers=headers)).status_code == 204
        assert (await client.post(hook.url, content=body + " ", headers=headers)).status_code == 401
        assert (await client.post(hook.url, content=body)).status_code == 401
        assert (await client.post(hook.url + "-other", content=body)).status_code == 404
    assert [(got.message_id, got.seq) for got in hook.hits] == [("evt_1", 1)]
    assert len(hook.forged) == 2
