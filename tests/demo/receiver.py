"""The companies' own servers: one loopback HTTP server that trusts nothing it is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

BODY_LIMIT: Final = 1 << 20
SECRET_PATIENCE: Final = 10.0
"""Seconds that a delivery waits for its secret: it may be faster than `create_webhook_endpoint`'s answer."""

REFUSE_FIRST: Final = 2
REFUSE_EVERY: Final = 9
REFUSE_MOST: Final = 3
"""An inbox answers 500 to the 2nd, 11th and 20th event it meets: too few in a row to be parked."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One event that was verified and taken."""

    event_id: str
    seq: int
    type: str
    body: bytes
    written_at: datetime
    latency_ms: float
    """From the write in Postgres to its first arrival here, whatever was answered then."""


@dataclass(slots=True)
class Inbox:
    """What one endpoint was sent. `problems` is empty as long as every delivery was what it should be."""

    name: str
    url: str
    events: tuple[str, ...]
    tenant_id: str = ""
    endpoint_id: str = ""
    receipts: dict[str, Receipt] = field(default_factory=dict)
    answers: dict[str, list[int]] = field(default_factory=dict)
    """The statuses given, in order, by event."""
    refused: int = 0
    """Events that were answered 500 at first."""
    retried: int = 0
    """Of those, the ones that came again and were taken."""
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)
    _bodies: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    _webhook: Webhook | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, *, tenant_id: str, endpoint_id: str, secret: str) -> None:
        """From here on deliveries can be verified."""
        self.tenant_id, self.endpoint_id = tenant_id, endpoint_id
        self._webhook = Webhook(secret)
        self._opened.set()

    def wants(self, event_type: str) -> bool:
        """Whether the endpoint's filter lets `event_type` through."""
        return bool({"*", event_type, f"{event_type.partition('.')[0]}.*"} & set(self.events))

    async def take(self, headers: dict[str, str], body: bytes, now: datetime) -> int:
        """The status to answer with: 204 taken, 500 come again, 400 not what it should be."""
        await asyncio.wait_for(self._opened.wait(), SECRET_PATIENCE)
        assert self._webhook is not None
        try:
            event = self._webhook.verify(body, headers)
            written_at = self._check(event, headers, body)
        except (WebhookVerificationError, ValueError, KeyError, TypeError) as error:
            self.problems.append(f"{self.name}: {headers.get('webhook-id', 'a delivery')}: {error}")
            return 400
        _, latency = self._bodies.setdefault(event["id"], (body, (now - written_at).total_seconds() * 1000))
        status = 500 if self._is_refused(event["id"]) else 204
        given = self.answers.setdefault(event["id"], [])
        given.append(status)
        if status == 500:
            self.refused += 1
            return status
        self.retried += given == [500, 204]
        self.keep(Receipt(event["id"], event["seq"], event["type"], body, written_at, latency))
        return status

    def _check(self, event: dict[str, Any], headers: dict[str, str], body: bytes) -> datetime:
        """When it was written. Raises `ValueError`, saying what is wrong with it."""
        if event["id"] != headers["webhook-id"]:
            raise ValueError(f"the body calls itself {event['id']}")
        if event["tenant_id"] != self.tenant_id:
            raise ValueError(f"it belongs to tenant {event['tenant_id']}")
        if not self.wants(event["type"]):
            raise ValueError(f"nobody asked for {event['type']}")
        if event["id"] in self._bodies and self._bodies[event["id"]][0] != body:
            raise ValueError("the second attempt carries other bytes than the first")
        if not isinstance(event["seq"], int) or not {"object", "changed", "version"} <= event["data"].keys():
            raise ValueError("the body is incomplete")
        return datetime.fromisoformat(event["timestamp"])

    def _is_refused(self, event_id: str) -> bool:
        if event_id in self.answers or self.refused == REFUSE_MOST:
            return False
        place = len(self.answers) + 1
        return place >= REFUSE_FIRST and (place - REFUSE_FIRST) % REFUSE_EVERY == 0

    def keep(self, receipt: Receipt) -> None:
        """Into the record of what was verified and taken."""
        if receipt.event_id in self.receipts:
            self.duplicates += 1
        else:
            self.receipts[receipt.event_id] = receipt


class Receiver:
    """Listens on a free port of loopback while it is entered."""

    def __init__(self) -> None:
        self.inboxes: list[Inbox] = []
        self.arrivals: Counter[int] = Counter()
        """Deliveries by quarter of a second of the monotonic clock, for the sparkline."""
        self._runner: web.AppRunner | None = None
        self._base = ""

    async def __aenter__(self) -> Receiver:
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post("/{place:\\d+}", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def make_inbox(self, name: str, events: tuple[str, ...]) -> Inbox:
        """An address that waits for its endpoint's secret."""
        inbox = self.new_inbox(name, f"{self._base}/{len(self.inboxes)}", events)
        self.inboxes.append(inbox)
        return inbox

    def new_inbox(self, name: str, url: str, events: tuple[str, ...]) -> Inbox:
        """Tests put an inbox here that is not to be trusted."""
        return Inbox(name, url, events)

    async def _receive(self, request: web.Request) -> web.Response:
        now = datetime.now(UTC)
        body = await request.read()
        self.arrivals[int(time.monotonic() * 4)] += 1
        place = int(request.match_info["place"])
        if place >= len(self.inboxes):
            return web.Response(status=404)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            status = await self.inboxes[place].take(headers, body, now)
        except TimeoutError:
            status = 503
        return web.Response(status=status, text=None if status == 204 else json.dumps({"status": status}))
