"""A worker as the lanes see it: leases, reads and settles over one session."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from tests.databases import Connection
from tests.sql.ask import column, rpc
from tests.sql.company import Company, add_products

Delivery = dict[str, Any]
LEASE = dt.timedelta(seconds=30)
"""The default of `lease_lanes`."""

PENDING = "select id from queue.deliveries order by id"
ATTEMPTS = "select delivery_id, attempt, outcome from public.webhook_attempts order by delivery_id, attempt"


class LaneWorker:
    def __init__(self, session: Connection, name: str) -> None:
        self.session = session
        self.name = name
        self.token: int | None = None

    async def lease(self, **options: object) -> dict[str, Any]:
        answer: dict[str, Any] = await rpc(
            self.session, "lease_lanes", p_worker=self.name, p_token=self.token, **options
        )
        self.token = answer["token"]
        return answer

    async def lanes(self, **options: object) -> set[int]:
        return {lane_id for lane_id, _ in (await self.lease(**options))["lanes"]}

    async def describe(self, *lane_ids: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await rpc(
            self.session, "describe_lanes", p_token=self.token, p_lane_ids=list(lane_ids)
        )
        return found

    async def read(self, after: int = 0, limit: int = 100, **options: object) -> dict[str, Any]:
        answer: dict[str, Any] = await rpc(
            self.session, "read_lanes", p_token=self.token, p_after=after, p_limit=limit, **options
        )
        return answer

    async def deliveries(self, **options: Any) -> list[Delivery]:
        found: list[Delivery] = (await self.read(**options))["deliveries"]
        return found

    async def settle(self, deliveries: list[Delivery], outcome: str, **more: object) -> dict[str, Any]:
        results = [outcome_of(delivery, outcome, **more) for delivery in deliveries]
        answer: dict[str, Any] = await rpc(
            self.session, "settle_deliveries", p_token=self.token, **told(results)
        )
        return answer


def told(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a worker tells of `results`: as columns the first attempts that were delivered."""
    delivered = [r for r in results if r["outcome"] == "delivered" and r["attempt"] == 1]
    others = [result for result in results if result not in delivered]
    columns = {name: [result[name] for result in delivered] for name in (delivered or [{}])[0]}
    return {**({"p_results": others} if others else {}), "p_delivered": columns}


def outcome_of(delivery: Delivery, outcome: str, **more: object) -> dict[str, Any]:
    return {
        "delivery_id": delivery["delivery_id"],
        "lane_id": delivery["lane_id"],
        "attempt": delivery["attempt"],
        "event_id": delivery["event_id"],
        "type": delivery["type"],
        "order_key": delivery.get("order_key"),
        "outcome": outcome,
        "started_at": "2026-11-23T10:00:00+00:00",
        "expires_at": "2026-12-23T10:00:00+00:00",
        "duration_ms": 12.5,
        "status": 200 if outcome == "delivered" else 500,
        **more,
    }


def ids(deliveries: list[Delivery]) -> list[int]:
    return [delivery["delivery_id"] for delivery in deliveries]


async def owe(db: Connection, company: Company, count: int = 1) -> list[int]:
    """New deliveries for the company's endpoints; all that are pending, by id."""
    await add_products(db, company, count, uuid.uuid4().hex)
    await rpc(db, "dispatch_outbox")
    return await column(db, PENDING)
