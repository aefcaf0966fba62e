"""The RPCs of the webhook lanes (docs/worker-rpc.md), parsed by hand: a call brings many deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from worker.engine.clock import Clock
from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.mark import DeliveryMark

Outcome = Literal["delivered", "retry", "failed", "gone"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lane:
    """One webhook endpoint, as the last lease call told it. `secrets`: newest first."""

    lane_id: int
    endpoint_id: str
    tenant_id: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    paused: bool
    timeout: timedelta
    max_concurrency: int
    version: int
    """The endpoint's: another than before means that it was changed, perhaps paused and resumed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """All lanes now held under the fencing `token`. Another token than before: the former lease was lost.

    `surplus`: how many lanes are more than this worker's fair share and should be given back.
    """

    token: int
    lanes: tuple[Lane, ...]
    surplus: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one lane; `body` is the exact text to sign and send, `attempt` counts from 1."""

    delivery_id: int
    lane_id: int
    retry: bool
    attempt: int
    event_id: str
    body: str = field(repr=False)
    occurred_at: datetime
    read_at: float = 0.0
    """When the answer that brought it came, in monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of `read`: complete up to position `after`, and cut short by the limit if `more`.

    `stale`: the lease is gone and the page empty.
    """

    stale: bool
    after: int
    more: bool
    deliveries: tuple[Delivery, ...]
    next_retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one delivery; becomes one row of `webhook_attempts`."""

    delivery_id: int
    lane_id: int
    attempt: int
    outcome: Outcome
    started_at: datetime
    duration: timedelta
    status: int | None
    error: str | None
    response: str | None
    retry_in: timedelta | None


class LaneStore(Protocol):
    """Where deliveries wait. All methods raise `GatewayError`."""

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        """Extends the lease `token`, or makes a new one, and takes this worker's fair share of lanes."""

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
        """First attempts above `after` of all active lanes, and retries that are due.

        Without the retries in `busy` (delivery ids) and those of the lanes in `closed`, and without the first
        attempts of the lanes in `behind`.
        """

    async def read_backlog(
        self, token: int, *, lanes: Collection[int], after: int, through: int | None, limit: int
    ) -> Page:
        """First attempts above `after` of `lanes` alone; `through`: a mark known to be complete, if any."""

    async def settle(self, token: int, results: Sequence[Result]) -> bool:
        """Writes results back, all or none; False when the lease is gone and nothing was changed."""

    async def release(self, token: int, *, lanes: Collection[int] | None = None) -> None:
        """Gives `lanes` back; without them all, and the lease ends."""


class RpcLanes:
    """The `LaneStore` of production: the database's functions. `mark`: how far a tail surely reaches."""

    def __init__(self, rpc: Rpc, *, worker: str, clock: Clock, mark: DeliveryMark) -> None:
        self._rpc, self._worker, self._clock, self._mark = rpc, worker, clock, mark

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        answer = await self._rpc.call(
            "lease_lanes", p_worker=self._worker, p_token=token, p_seconds=round(duration.total_seconds())
        )
        return _parsed("lease_lanes", _lease, answer)

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
        answer = await self._rpc.call(
            "read_lanes",
            p_token=token,
            p_after=after,
            p_limit=limit,
            p_busy_ids=list(busy),
            p_through=self._mark.last_id,
            p_parked_lane_ids=list(closed),
            p_behind_lane_ids=list(behind),
        )
        return _parsed("read_lanes", partial(_page, read_at=self._clock.monotonic()), answer)

    async def read_backlog(
        self, token: int, *, lanes: Collection[int], after: int, through: int | None, limit: int
    ) -> Page:
        answer = await self._rpc.call(
            "read_lanes",
            p_token=token,
            p_after=after,
            p_limit=limit,
            p_lane_ids=list(lanes),
            p_through=through,
        )
        return _parsed("read_lanes", partial(_page, read_at=self._clock.monotonic()), answer)

    async def settle(self, token: int, results: Sequence[Result]) -> bool:
        answer = await self._rpc.call(
            "settle_deliveries", p_token=token, p_results=[_result_json(result) for result in results]
        )
        return not _parsed("settle_deliveries", lambda value: bool(value["stale"]), answer)

    async def release(self, token: int, *, lanes: Collection[int] | None = None) -> None:
        named = {} if lanes is None else {"p_lane_ids": list(lanes)}
        await self._rpc.call("release_lanes", p_token=token, **named)


def _parsed(name: str, parse: Callable[[Any], T], answer: Any) -> T:
    try:
        return parse(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswer(f"{name} answered in another shape than docs/worker-rpc.md: {error!r}") from error


def _lease(value: Mapping[str, Any]) -> Lease:
    lanes = tuple([_lane(lane) for lane in value["lanes"]])
    return Lease(int(value["token"]), lanes, surplus=int(value.get("surplus", 0)))


def _lane(value: Mapping[str, Any]) -> Lane:
    return Lane(
        lane_id=value["lane_id"],
        endpoint_id=value["endpoint_id"],
        tenant_id=value["tenant_id"],
        url=value["url"],
        secrets=tuple(value["secrets"]),
        paused=value["status"] != "active",
        timeout=timedelta(seconds=value["timeout_seconds"]),
        max_concurrency=value["max_concurrency"],
        version=value["version"],
    )


def _page(value: Mapping[str, Any], *, read_at: float) -> Page:
    if value["stale"]:
        return Page(stale=True, after=0, more=False, deliveries=(), next_retry_at=None)
    due = value["next_retry_at"]
    return Page(
        stale=False,
        after=int(value["after"]),
        more=bool(value["more"]),
        deliveries=tuple([_delivery(delivery, read_at) for delivery in value["deliveries"]]),
        next_retry_at=datetime.fromisoformat(due) if due else None,
    )


def _delivery(value: Mapping[str, Any], read_at: float) -> Delivery:
    return Delivery(
        value["delivery_id"],
        value["lane_id"],
        value["retry"],
        value["attempt"],
        value["event_id"],
        value["body"],
        datetime.fromisoformat(value["occurred_at"]),
        read_at,
    )


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "delivery_id": result.delivery_id,
        "lane_id": result.lane_id,
        "attempt": result.attempt,
        "outcome": result.outcome,
        "started_at": result.started_at.isoformat(),
        "duration_ms": round(result.duration.total_seconds() * 1000, 3),
        "status": result.status,
        "error": result.error,
        "response": result.response,
        "retry_in_seconds": result.retry_in.total_seconds() if result.retry_in is not None else None,
    }
