"""The RPCs of the webhook lanes (docs/worker-rpc.md), parsed by hand: a call brings many deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

from worker.engine.clock import Clock
from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.mark import DeliveryMark

Outcome = Literal["delivered", "retry", "probe", "failed", "gone", "expired", "blocked"]
"""`probe`: it failed while the endpoint was down and stays where it was; `blocked`: not tried, it lines up
behind a retry of its entity."""
T = TypeVar("T")

DESCRIBED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret, valid until `expires_at`, if that is set."""

    text: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """One webhook endpoint, as the database described it. `secrets`: newest first."""

    lane_id: int
    endpoint_id: str
    tenant_id: str
    url: str
    secrets: tuple[Secret, ...]
    paused: bool
    timeout: timedelta
    max_concurrency: int
    version: int
    """The endpoint's: another than before means that it was changed, perhaps paused and resumed."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_limit: int | None = None
    """Requests started a second, at most."""
    ordered: bool = False
    expires_after: timedelta = timedelta(hours=72)

    def expiry_of(self, delivery: Delivery) -> datetime:
        """When `delivery` need not be tried any more."""
        return delivery.expires_at or delivery.occurred_at + self.expires_after


@dataclass(frozen=True, slots=True)
class Lease:
    """All lanes now held under the fencing `token`. Another token than before: the former lease was lost.

    `surplus`: how many lanes are more than this worker's fair share and should be given back.
    """

    token: int
    lanes: tuple[Lane, ...]
    surplus: int = 0


@dataclass(slots=True)  # frozen ones take three times as long to make
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
    type: str = ""
    order_key: str | None = None
    """Of an ordered lane: the entity whose deliveries go one after the other."""
    blocked: bool = False
    """A retry of the same entity waits in the database: this one lines up behind it."""
    expires_at: datetime | None = None
    """None: as its lane says."""


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


class Timings(NamedTuple):
    """Where the time of an attempt went, in seconds, as far as it came.

    `dns`: until the wall had its answer; None when it was known. `connect`: TCP, TLS and the proxy's part;
    None when a kept connection was used. `first_byte`: from writing the request to the answer's first byte.
    """

    dns: float | None = None
    connect: float | None = None
    first_byte: float | None = None


NO_TIMINGS: Final = Timings()


@dataclass(slots=True)  # frozen ones take three times as long to make
class Result:
    """What became of one delivery; becomes one row of `webhook_attempts`, but for `blocked`."""

    delivery_id: int
    lane_id: int
    attempt: int
    event_id: str
    type: str
    outcome: Outcome
    started_at: datetime
    expires_at: datetime
    duration: timedelta = timedelta(0)
    timings: Timings = NO_TIMINGS
    status: int | None = None
    error: str | None = None
    response: str | None = None
    retry_in: timedelta | None = None
    order_key: str | None = None


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
    """The `LaneStore` of production: the database's functions. `mark`: how far a tail surely reaches.

    A lease answer names lanes and versions alone; what is new among them is asked for and kept here.
    """

    def __init__(self, rpc: Rpc, *, worker: str, clock: Clock, mark: DeliveryMark) -> None:
        self._rpc, self._worker, self._clock, self._mark = rpc, worker, clock, mark
        self._known: str | None = None
        self._lanes: dict[int, Lane] = {}

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        answer = await self._rpc.call(
            "lease_lanes",
            p_worker=self._worker,
            p_token=token,
            p_seconds=round(duration.total_seconds()),
            p_known=self._known,
        )
        held = _parsed("lease_lanes", _held, answer)
        if held.versions is not None:
            # what is not described yet must be asked for again, even if the next call fails
            self._known = None
            await self._describe(held.token, held.versions)
            self._known = held.known
        return Lease(held.token, tuple(self._lanes.values()), surplus=held.surplus)

    async def _describe(self, token: int, versions: Mapping[int, int]) -> None:
        """Learns of the lanes in `versions` that are new or changed, and forgets all others."""
        self._lanes = {lane_id: lane for lane_id, lane in self._lanes.items() if lane_id in versions}
        asked = [
            lane_id
            for lane_id, version in versions.items()
            if lane_id not in self._lanes or self._lanes[lane_id].version != version
        ]
        for start in range(0, len(asked), DESCRIBED_AT_ONCE):
            some = asked[start : start + DESCRIBED_AT_ONCE]
            answer = await self._rpc.call("describe_lanes", p_token=token, p_lane_ids=some)
            # one that is missing was taken or deleted in between
            told = {lane.lane_id: lane for lane in _parsed("describe_lanes", _lanes, answer)}
            for lane_id in some:
                if lane_id in told:
                    self._lanes[lane_id] = told[lane_id]
                else:
                    self._lanes.pop(lane_id, None)

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
            "settle_deliveries", p_token=token, p_results=[result_json(result) for result in results]
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


@dataclass(frozen=True, slots=True)
class _Held:
    token: int
    surplus: int
    known: str
    versions: Mapping[int, int] | None


def _held(value: Mapping[str, Any]) -> _Held:
    lanes = value["lanes"]
    versions = None if lanes is None else {int(lane_id): int(version) for lane_id, version in lanes}
    return _Held(int(value["token"]), int(value["surplus"]), str(value["known"]), versions)


def _lanes(value: Iterable[Mapping[str, Any]]) -> list[Lane]:
    return [parse_lane(lane) for lane in value]


def parse_lane(value: Mapping[str, Any]) -> Lane:
    """A lane as `describe_lanes` tells it; raises what a wrong shape makes Python raise."""
    return Lane(
        lane_id=value["lane_id"],
        endpoint_id=value["endpoint_id"],
        tenant_id=value["tenant_id"],
        url=value["url"],
        secrets=tuple([_secret(secret) for secret in value["secrets"]]),
        paused=value["status"] != "active",
        timeout=timedelta(seconds=value["timeout_seconds"]),
        max_concurrency=value["max_concurrency"],
        version=value["version"],
        headers=dict(value["headers"]),
        rate_limit=value["rate_limit_per_second"],
        ordered=bool(value["ordered"]),
        expires_after=timedelta(hours=value["expires_after_hours"]),
    )


def _secret(value: Mapping[str, Any]) -> Secret:
    return Secret(value["secret"], _moment(value["expires_at"]))


def _page(value: Mapping[str, Any], *, read_at: float) -> Page:
    if value["stale"]:
        return Page(stale=True, after=0, more=False, deliveries=(), next_retry_at=None)
    return Page(
        stale=False,
        after=int(value["after"]),
        more=bool(value["more"]),
        deliveries=tuple([_delivery(delivery, read_at) for delivery in value["deliveries"]]),
        next_retry_at=_moment(value["next_retry_at"]),
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
        value["type"],
        value.get("order_key"),
        value.get("blocked", False),
        _moment(value.get("expires_at")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def result_json(result: Result) -> dict[str, Any]:
    """A result in the form of docs/worker-rpc.md."""
    timings = result.timings
    return {
        "delivery_id": result.delivery_id,
        "lane_id": result.lane_id,
        "attempt": result.attempt,
        "event_id": result.event_id,
        "type": result.type,
        "outcome": result.outcome,
        "started_at": result.started_at.isoformat(),
        "expires_at": result.expires_at.isoformat(),
        "duration_ms": _milliseconds(result.duration.total_seconds()),
        "dns_ms": _milliseconds(timings.dns),
        "connect_ms": _milliseconds(timings.connect),
        "first_byte_ms": _milliseconds(timings.first_byte),
        "status": result.status,
        "error": result.error,
        "response": result.response,
        "retry_in_seconds": result.retry_in.total_seconds() if result.retry_in is not None else None,
        "order_key": result.order_key,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
