"""A `LaneStore` in memory that behaves as docs/worker-rpc.md says; the real one passes the same suite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from worker.errors import GatewayError
from worker.gateway.lanes import Delivery, Lane, Lease, Page, Result, Secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EPOCH = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass(slots=True)
class _Retry:
    delivery: Delivery
    due: float
    blocked: bool = False


@dataclass(slots=True)
class Database:
    """The tables, shared by the stores of several workers. `now` is the database's clock, in seconds."""

    now: Callable[[], float]
    lanes: dict[int, Lane] = field(default_factory=dict)
    leases: dict[int, tuple[str, float]] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    pending: dict[int, Delivery] = field(default_factory=dict)
    retries: dict[int, _Retry] = field(default_factory=dict)
    attempts: list[Result] = field(default_factory=list)
    last_id: int = 0
    last_token: int = 0

    def endpoint(self, url: str, **settings: Any) -> int:
        lane_id = len(self.lanes) + 1
        self.lanes[lane_id] = replace(
            Lane(
                lane_id=lane_id,
                endpoint_id=f"00000000-0000-0000-0000-{lane_id:012}",
                tenant_id="00000000-0000-0000-0000-000000000001",
                url=url,
                secrets=(Secret(SECRET),),
                paused=False,
                timeout=timedelta(seconds=15),
                max_concurrency=10,
                version=1,
            ),
            **settings,
        )
        return lane_id

    def change(self, lane_id: int, **settings: Any) -> None:
        lane = self.lanes[lane_id]
        self.lanes[lane_id] = replace(lane, version=lane.version + 1, **settings)

    def dispatch(self, *lane_ids: int, body: str = '{"test": 1}', order_key: str | None = None) -> list[int]:
        """Queues one delivery for each lane, as dispatch does: ids in commit order."""
        ids = []
        for lane_id in lane_ids:
            self.last_id += 1
            self.pending[self.last_id] = Delivery(
                self.last_id,
                lane_id,
                f"evt_{self.last_id}",
                body.encode(),
                datetime.now(UTC),
                "test.event",
                order_key=order_key if self.lanes[lane_id].ordered else None,
                read_at=time.monotonic(),
            )
            ids.append(self.last_id)
        return ids

    def fail_pending(self) -> None:
        """Every delivery failed once, and is due again."""
        for delivery_id, delivery in self.pending.items():
            again = structs.replace(delivery, retry=True, attempt=delivery.attempt + 1)
            self.retries[delivery_id] = _Retry(again, self.now())
        self.pending.clear()

    def expire(self, token: int) -> None:
        worker, _ = self.leases[token]
        self.leases[token] = (worker, float("-inf"))

    def valid(self, token: int | None) -> bool:
        return token in self.leases and self.leases[token][1] > self.now()

    def settled(self, outcome: str) -> list[int]:
        return [result.delivery_id for result in self.attempts if result.outcome == outcome]

    @property
    def empty(self) -> bool:
        return not self.pending and not self.retries


class MemoryLanes:
    """One worker's view of the database."""

    def __init__(self, database: Database, *, worker: str = "one") -> None:
        self.database, self.worker = database, worker
        self.calls: list[str] = []
        self._faults: dict[str, tuple[GatewayError, int]] = {}

    def fail_next(self, name: str, error: GatewayError, *, times: int) -> None:
        """The next `times` calls of `name` raise `error`, and change nothing."""
        self._faults[name] = (error, times)

    def _called(self, name: str) -> Database:
        self.calls.append(name)
        error, times = self._faults.get(name, (None, 0))
        if error is not None and times > 0:
            self._faults[name] = (error, times - 1)
            raise error
        return self.database

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        db = self._called("lease")
        until = db.now() + duration.total_seconds()
        if token is None or not db.valid(token) or db.leases[token][0] != self.worker:
            db.last_token = token = db.last_token + 1
        db.leases[token] = (self.worker, until)
        for gone in [t for t in db.leases if not db.valid(t)]:
            del db.leases[gone]
            db.held = {lane: t for lane, t in db.held.items() if t != gone}
        share = math.ceil(len(db.lanes) / len({worker for worker, _ in db.leases.values()}))
        mine = sum(t == token for t in db.held.values())
        for lane_id in [lane for lane in db.lanes if lane not in db.held][: max(0, share - mine)]:
            db.held[lane_id] = token
        lanes = tuple(db.lanes[lane] for lane, t in sorted(db.held.items()) if t == token)
        return Lease(token, lanes, surplus=max(0, mine - share))

    async def read_tail(
        self,
        token: int,
        *,
        after: int,
        limit: int,
        busy: Collection[int],
        closed: Collection[int],
        behind: Collection[int],
    ) -> Page:
        db = self._called("read_tail")
        page = self._firsts(
            db, token, after=after, limit=limit, lanes=db.lanes.keys() - set(behind), through=db.last_id
        )
        if page.stale:
            return page
        mine = [
            retry
            for retry in db.retries.values()
            if self._reads(db, token, retry.delivery.lane_id)
            and retry.delivery.lane_id not in closed
            and not retry.blocked
        ]
        due = [r for r in mine if r.due <= db.now() and r.delivery.delivery_id not in busy]
        due.sort(key=lambda r: (r.due, r.delivery.delivery_id))
        later = min((r.due for r in mine if r.due > db.now()), default=None)
        return replace(
            page,
            deliveries=page.deliveries + tuple(self._told(db, r.delivery) for r in due[:limit]),
            next_retry_at=None if later is None else datetime.now(UTC) + timedelta(seconds=later - db.now()),
        )

    async def read_backlog(
        self, token: int, *, lanes: Collection[int], after: int, through: int | None, limit: int
    ) -> Page:
        db = self._called("read_backlog")
        return self._firsts(db, token, after=after, limit=limit, lanes=set(lanes), through=through)

    async def find_missed(
        self, token: int, *, through: int, in_hand: Collection[int], behind: Collection[int]
    ) -> int | None:
        db = self._called("find_missed")
        if not db.valid(token):
            return None
        missed = (
            delivery_id
            for delivery_id, delivery in db.pending.items()
            if self._reads(db, token, delivery.lane_id)
            and delivery.lane_id not in behind
            and delivery_id <= through
            and delivery_id not in in_hand
        )
        return min(missed, default=None)

    async def settle(self, token: int, results: Sequence[Result]) -> bool:
        db = self._called("settle")
        if not db.valid(token):
            return False
        for result in results:
            if db.held.get(result.lane_id) == token:
                self._write(db, result)
        return True

    async def release(self, token: int, *, lanes: Collection[int] | None = None) -> None:
        db = self._called("release")
        db.held = {
            lane: t for lane, t in db.held.items() if t != token or (lanes is not None and lane not in lanes)
        }
        if lanes is None:
            db.leases.pop(token, None)

    def _reads(self, db: Database, token: int, lane_id: int) -> bool:
        return db.held.get(lane_id) == token and not db.lanes[lane_id].paused

    def _firsts(
        self,
        db: Database,
        token: int,
        *,
        after: int,
        limit: int,
        lanes: Collection[int],
        through: int | None = None,
    ) -> Page:
        if not db.valid(token):
            return Page(stale=True, after=after, more=False, deliveries=(), next_retry_at=None)
        found = [
            self._told(db, structs.replace(delivery, blocked=self._is_blocked(db, delivery)))
            for delivery_id, delivery in sorted(db.pending.items())
            if delivery_id > after and delivery.lane_id in lanes and self._reads(db, token, delivery.lane_id)
        ][:limit]
        last = found[-1].delivery_id if found else after
        more = len(found) >= limit
        if not more:
            last = max(last, through if through is not None else max(db.pending, default=after))
        return Page(stale=False, after=last, more=more, deliveries=tuple(found), next_retry_at=None)

    def _told(self, db: Database, delivery: Delivery) -> Delivery:
        return structs.replace(delivery, version=db.lanes[delivery.lane_id].version)

    def _is_blocked(self, db: Database, delivery: Delivery) -> bool:
        return delivery.order_key is not None and any(
            retry.delivery.order_key == delivery.order_key
            and retry.delivery.lane_id == delivery.lane_id
            and delivery_id < delivery.delivery_id
            for delivery_id, retry in db.retries.items()
        )

    def _release_next(self, db: Database, result: Result) -> None:
        chain = [
            retry
            for _, retry in sorted(db.retries.items())
            if retry.delivery.order_key == result.order_key and retry.delivery.lane_id == result.lane_id
        ]
        if chain and chain[0].blocked:
            chain[0].blocked, chain[0].due = False, db.now()

    def _write(self, db: Database, result: Result) -> None:
        if result.outcome == "probe":
            db.attempts.append(result)
            return
        delivery = db.pending.get(result.delivery_id) if result.attempt == 1 else None
        retry = db.retries.get(result.delivery_id)
        if delivery is not None:
            del db.pending[result.delivery_id]
        elif retry is not None and retry.delivery.attempt == result.attempt:
            delivery = db.retries.pop(result.delivery_id).delivery
        else:
            return
        if result.outcome == "blocked":
            behind = structs.replace(delivery, retry=True, blocked=False, expires_at=result.expires_at)
            db.retries[result.delivery_id] = _Retry(behind, math.inf, blocked=True)
        else:
            db.attempts.append(result)
        if result.outcome == "retry":
            again = structs.replace(
                delivery, retry=True, attempt=delivery.attempt + 1, expires_at=result.expires_at
            )
            db.retries[result.delivery_id] = _Retry(again, db.now() + (result.retry_in_seconds or 0))
        elif result.outcome == "gone":
            db.change(result.lane_id, paused=True)
        if result.order_key is not None:
            self._release_next(db, result)
