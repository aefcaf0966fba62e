"""Two worlds for one contract: lanes in memory, and lanes in a clone of the real database."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from msgspec import json, to_builtins

from tests.databases import Connection
from tests.sql import ask
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_endpoint, add_product, add_products, found_company, rename
from tests.webhooks.memory_lanes import Database, MemoryLanes
from worker.engine.clock import SystemClock
from worker.gateway.lanes import LaneStore
from worker.gateway.mark import DeliveryMark
from worker.gateway.outbox import RpcOutbox
from worker.gateway.rpc_lanes import RpcLanes


class World(Protocol):
    """What a contract test may do to the world; time stands still but for `pass_time`."""

    def store(self, worker: str) -> LaneStore: ...
    async def add_lane(self, *, ordered: bool = False) -> int:
        """One more endpoint that is owed every event; its lane's id."""

    async def dispatch(self, events: int, *, entity: str | None = None) -> None:
        """So many events, each owed to every lane: of one entity, or each of another."""

    async def set_paused(self, lane_id: int, paused: bool) -> None: ...
    async def pass_time(self, duration: timedelta) -> None: ...
    async def is_disabled(self, lane_id: int) -> bool: ...
    async def attempts(self) -> list[tuple[int, int, str]]:
        """(delivery, attempt, outcome) of all that was written, in order of the first two."""


@dataclass(slots=True)
class MemoryWorld:
    seconds: float = 0.0
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database(now=lambda: self.seconds)

    def store(self, worker: str) -> LaneStore:
        return MemoryLanes(self.database, worker=worker)

    async def add_lane(self, *, ordered: bool = False) -> int:
        return self.database.endpoint("https://example.com/hook", ordered=ordered)

    async def dispatch(self, events: int, *, entity: str | None = None) -> None:
        for _ in range(events):
            self.database.dispatch(*self.database.lanes, order_key=entity or uuid.uuid4().hex)

    async def set_paused(self, lane_id: int, paused: bool) -> None:
        self.database.change(lane_id, paused=paused)

    async def pass_time(self, duration: timedelta) -> None:
        self.seconds += duration.total_seconds()

    async def is_disabled(self, lane_id: int) -> bool:
        return self.database.lanes[lane_id].paused

    async def attempts(self) -> list[tuple[int, int, str]]:
        return sorted((r.delivery_id, r.attempt, r.outcome) for r in self.database.attempts)


class SqlRpc:
    """The worker's `RawRpc` over one database session."""

    def __init__(self, session: Connection) -> None:
        self._session = session

    async def call(self, name: str, /, **params: Any) -> Any:
        return await ask.rpc(self._session, name, **to_builtins(params))

    async def answer(self, name: str, /, **params: Any) -> bytes:
        told = await ask.told(self._session, "worker", name, **params)
        return told.encode() if isinstance(told, str) else json.encode(told)


@dataclass(slots=True)
class SqlWorld:
    db: Connection
    company: Company | None = None
    endpoints: dict[int, str] = field(default_factory=dict)
    products: dict[str, uuid.UUID] = field(default_factory=dict)
    mark: DeliveryMark = field(default_factory=DeliveryMark)

    def store(self, worker: str) -> LaneStore:
        return RpcLanes(SqlRpc(self.db), worker=worker, clock=SystemClock(), mark=self.mark)

    async def add_lane(self, *, ordered: bool = False) -> int:
        endpoint = await add_endpoint(self.db, await self._company(), events=("product.*",))
        self.endpoints[endpoint["lane_id"]] = endpoint["id"]
        if ordered:
            change = "update public.webhook_endpoints set ordered = true where id = %s"
            await self.db.execute(change, (endpoint["id"],))
        await self._dispatch_outbox()
        return int(endpoint["lane_id"])

    async def dispatch(self, events: int, *, entity: str | None = None) -> None:
        if entity is None:
            await add_products(self.db, await self._company(), events, prefix=uuid.uuid4().hex)
        else:
            await self._change(entity, events)
        await self._dispatch_outbox()

    async def _change(self, entity: str, times: int) -> None:
        if entity not in self.products:
            self.products[entity] = await add_product(self.db, await self._company(), entity)
            times -= 1
        for _ in range(times):
            await rename(self.db, self.products[entity], uuid.uuid4().hex)

    async def _dispatch_outbox(self) -> None:
        await RpcOutbox(SqlRpc(self.db), worker="dispatcher", mark=self.mark).dispatch("0")

    async def _company(self) -> Company:
        if self.company is None:
            self.company = await found_company(self.db)
            await stop_clock(self.db)
        return self.company

    async def set_paused(self, lane_id: int, paused: bool) -> None:
        await self.db.execute(
            "update public.webhook_endpoints set status = %s where id = %s",
            ("paused" if paused else "active", self.endpoints[lane_id]),
        )

    async def pass_time(self, duration: timedelta) -> None:
        await move_clock(self.db, duration)

    async def is_disabled(self, lane_id: int) -> bool:
        query = "select status = 'disabled' from public.webhook_endpoints where id = %s"
        return bool(await ask.value(self.db, query, self.endpoints[lane_id]))

    async def attempts(self) -> list[tuple[int, int, str]]:
        query = "select delivery_id, attempt, outcome from public.webhook_attempts order by 1, 2"
        return [(row[0], row[1], row[2]) for row in await ask.rows(self.db, query)]
