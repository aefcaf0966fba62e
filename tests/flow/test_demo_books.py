"""The demo's receiver and its audit: each kind of wrong is found, and named."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.demo import audit
from tests.demo.audit import Logged
from tests.demo.receiver import Inbox
from tests.demo.stage import DemoFailedError

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
TENANT, ENDPOINT = "tenant-1", "endpoint-1"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def inbox() -> Inbox:
    made = Inbox("Shop", "http://127.0.0.1:1/0", ("product.*",))
    made.open(tenant_id=TENANT, endpoint_id=ENDPOINT, secret=SECRET)
    return made


def body_of(number: int, **changes: Any) -> bytes:
    event = {
        "id": f"evt_{number}",
        "type": "product.updated",
        "timestamp": NOW.isoformat(),
        "tenant_id": TENANT,
        "seq": number,
        "data": {"object": {}, "changed": [], "version": 1},
    }
    return json.dumps(event | changes).encode()


async def send(
    inbox: Inbox, number: int, *, body: bytes | None = None, signed_as: str | None = None, after_ms: int = 12
) -> int:
    body = body or body_of(number)
    event_id = signed_as or f"evt_{number}"
    # not NOW: the library refuses signatures of five minutes ago, which the whole suite may take to come here
    signed_at = datetime.now(UTC)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(event_id, signed_at, body.decode()),
    }
    return await inbox.take(headers, body, NOW + timedelta(milliseconds=after_ms))


async def test_some_are_refused_first_and_counted_when_they_come_back(inbox: Inbox) -> None:
    answers = [await send(inbox, number) for number in range(1, 40)]
    refused = [number for number, status in enumerate(answers, 1) if status == 500]
    assert refused == [2, 11, 20]
    assert (inbox.refused, inbox.retried, len(inbox.receipts)) == (3, 0, 36)

    assert [await send(inbox, number, after_ms=5000) for number in refused] == [204, 204, 204]
    assert (inbox.retried, inbox.duplicates, len(inbox.receipts)) == (3, 0, 39)
    assert inbox.receipts["evt_2"].latency_ms == 12, "its first arrival counts"


async def test_what_comes_twice_is_a_duplicate(inbox: Inbox) -> None:
    await send(inbox, 1)
    assert await send(inbox, 1) == 204
    assert (inbox.duplicates, len(inbox.receipts), inbox.problems) == (1, 1, [])


@pytest.mark.parametrize(
    ("changes", "signed_as", "problem"),
    [
        ({"tenant_id": "tenant-2"}, None, "it belongs to tenant tenant-2"),
        ({"type": "stock_level.updated"}, None, "nobody asked for stock_level.updated"),
        ({"data": {}}, None, "the body is incomplete"),
        ({}, "evt_9", "the body calls itself evt_1"),
    ],
)
async def test_a_delivery_that_is_wrong(
    inbox: Inbox, changes: dict[str, Any], signed_as: str | None, problem: str
) -> None:
    assert await send(inbox, 1, body=body_of(1, **changes), signed_as=signed_as) == 400
    assert problem in inbox.problems[0]
    assert not inbox.receipts


async def test_a_second_attempt_with_other_bytes(inbox: Inbox) -> None:
    await send(inbox, 1)
    assert await send(inbox, 1, body=body_of(1, seq=7)) == 400
    assert "other bytes" in inbox.problems[0]


async def test_a_forged_signature(inbox: Inbox) -> None:
    inbox.open(tenant_id=TENANT, endpoint_id=ENDPOINT, secret="whsec_" + base64.b64encode(b"x" * 32).decode())
    assert await send(inbox, 1) == 400
    assert inbox.problems


def logged(number: int, event_type: str = "product.updated", **changes: Any) -> Logged:
    event = Logged(TENANT, number, f"evt_{number}", event_type, "product-1", body_of(number), True)
    return replace(event, **changes)


BIRTH = logged(1, "webhook_endpoint.created", entity_id=ENDPOINT, for_webhooks=False)


async def test_books_that_agree(inbox: Inbox) -> None:
    await send(inbox, 2)
    before = logged(0)
    other = logged(3, "stock_level.created")
    silent = logged(4, "product.updated", for_webhooks=False)
    audit.compare_inbox(inbox, [before, BIRTH, logged(2), other, silent])
    audit.explain(inbox, {"evt_2": [204]})


async def test_books_that_do_not(inbox: Inbox) -> None:
    await send(inbox, 2)
    with pytest.raises(DemoFailedError, match="1 of 2 never arrived, such as evt_5"):
        audit.compare_inbox(inbox, [BIRTH, logged(2), logged(5)])
    with pytest.raises(DemoFailedError, match="evt_2 is not in the log"):
        audit.compare_inbox(inbox, [BIRTH])
    with pytest.raises(DemoFailedError, match="evt_2 differs from the log"):
        audit.compare_inbox(inbox, [BIRTH, logged(2, body=b"{}")])
    with pytest.raises(DemoFailedError, match=r"answered \[204\] but its attempts say \[500, 204\]"):
        audit.explain(inbox, {"evt_2": [500, 204]})
    with pytest.raises(DemoFailedError, match=r"answered None but its attempts say \[204\]"):
        audit.explain(inbox, {"evt_2": [204], "evt_6": [204]})
