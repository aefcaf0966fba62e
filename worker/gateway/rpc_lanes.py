"""The functions of the webhook lanes (docs/worker-rpc.md); pages of deliveries are decoded as they came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeVar

from msgspec import DecodeError, Raw, Struct, json

from worker.engine.clock import Clock
from worker.engine.ports import RawRpc
from worker.errors import BadAnswer
from worker.gateway.lanes import Delivery, Lane, Lease, Page, Result, Secret
from worker.gateway.mark import DeliveryMark

T = TypeVar("T")

DESCRIBED_AT_ONCE: Final = 1000
DESCRIBED_A_LEASE: Final = 5 * DESCRIBED_AT_ONCE
"""A worker that takes 100,000 lanes sends for the first ones while it learns of the others."""


class RpcLanes:
    """The `LaneStore` of production: the database's functions. `mark`: how far a tail surely reaches.

    A lease answer names lanes and versions alone; what is new among them is asked for and kept here.
    """

    def __init__(self, rpc: RawRpc, *, worker: str, clock: Clock, mark: DeliveryMark) -> None:
        self._rpc, self._worker, self._clock, self._mark = rpc, worker, clock, mark
        self._known: str | None = None
        self._lanes: dict[int, Lane] = {}
        self._undescribed: list[int] = []
        """Held as well, but nobody was told of them yet: their deliveries would fill the tail's pages."""

    async def lease(self, token: int | None, *, duration: timedelta) -> Lease:
        answer = await self._rpc.call(
            "lease_lanes",
            p_worker=self._worker,
            p_token=token,
            p_seconds=round(duration.total_seconds()),
            p_known=self._known,
        )
        held = _parsed("lease_lanes", _held, answer)
        partial = False
        if held.versions is not None:
            # what is not described yet must be asked for again, even if the next call fails
            self._known = None
            partial = not await self._describe(held.token, held.versions)
            self._known = None if partial else held.known
        return Lease(held.token, tuple(self._lanes.values()), surplus=held.surplus, partial=partial)

    async def _describe(self, token: int, versions: Mapping[int, int]) -> bool:
        """Learns of the lanes in `versions` that are new or changed, of so many at most, and forgets those
        that are not in it; whether that was all."""
        self._lanes = {lane_id: lane for lane_id, lane in self._lanes.items() if lane_id in versions}
        asked = [
            lane_id
            for lane_id, version in versions.items()
            if lane_id not in self._lanes or self._lanes[lane_id].version != version
        ]
        self._undescribed = [lane_id for lane_id in asked[DESCRIBED_A_LEASE:] if lane_id not in self._lanes]
        for start in range(0, min(len(asked), DESCRIBED_A_LEASE), DESCRIBED_AT_ONCE):
            some = asked[start : start + DESCRIBED_AT_ONCE]
            answer = await self._rpc.call("describe_lanes", p_token=token, p_lane_ids=some)
            # one that is missing was taken or deleted in between
            told = {lane.lane_id: lane for lane in _parsed("describe_lanes", _lanes, answer)}
            for lane_id in some:
                if lane_id in told:
                    self._lanes[lane_id] = told[lane_id]
                else:
                    self._lanes.pop(lane_id, None)
        return len(asked) <= DESCRIBED_A_LEASE

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
        return await self._read(
            p_token=token,
            p_after=after,
            p_limit=limit,
            p_busy_ids=list(busy),
            p_through=self._mark.last_id,
            p_parked_lane_ids=list(closed),
            p_behind_lane_ids=[*behind, *self._undescribed],
        )

    async def read_backlog(
        self, token: int, *, lanes: Collection[int], after: int, through: int | None, limit: int
    ) -> Page:
        return await self._read(
            p_token=token,
            p_after=after,
            p_limit=limit,
            p_lane_ids=list(lanes),
            p_through=through,
        )

    async def _read(self, **params: Any) -> Page:
        answer = await self._rpc.answer("read_lanes", **params)
        told = _parsed("read_lanes", _PAGES.decode, answer)
        deliveries, read_at = tuple[Delivery, ...](told.deliveries), self._clock.monotonic()
        for delivery in deliveries:
            # a copy: the body as it is told keeps the whole answer in memory
            delivery.body, delivery.read_at = bytes(delivery.body), read_at
        return Page(told.stale, told.after, told.more, deliveries, told.next_retry_at)

    async def find_missed(
        self, token: int, *, through: int, in_hand: Collection[int], behind: Collection[int]
    ) -> int | None:
        answer = await self._rpc.call(
            "find_missed_delivery",
            p_token=token,
            p_through=through,
            p_in_hand=list(in_hand),
            p_behind_lane_ids=list(behind),
        )
        return _parsed("find_missed_delivery", _missed, answer)

    async def settle(self, token: int, results: Sequence[Result]) -> bool:
        delivered, others = _split(results)
        told = {"p_delivered": _columns(delivered)} if delivered else {}
        answer = await self._rpc.call(
            "settle_deliveries", p_token=token, **told, **({"p_results": others} if others else {})
        )
        return not _parsed("settle_deliveries", lambda value: bool(value["stale"]), answer)

    async def release(self, token: int, *, lanes: Collection[int] | None = None) -> None:
        named = {} if lanes is None else {"p_lane_ids": list(lanes)}
        await self._rpc.call("release_lanes", p_token=token, **named)


class _Told(Delivery, gc=False, kw_only=True):
    """A delivery as it comes: its body is a JSON value, of which the very text counts."""

    body: Raw
    version: int


class _Page(Struct):
    stale: bool
    after: int
    more: bool
    next_retry_at: datetime | None
    deliveries: list[_Told]


_PAGES: Final = json.Decoder(_Page)


COLUMNS: Final = {
    name: attrgetter(name)
    for name in (
        *("delivery_id", "lane_id", "event_id", "type", "status", "response", "started_at"),
        *("duration_ms", "dns_ms", "connect_ms", "first_byte_ms"),
    )
}


def _split(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """First attempts that were delivered, and the others."""
    delivered, others = list[Result](), list[Result]()
    for result in results:
        (delivered if result.outcome == "delivered" and result.attempt == 1 else others).append(result)
    return delivered, others


def _columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    """A list for each field, without those that say nothing."""
    columns = {name: list(map(read, results)) for name, read in COLUMNS.items()}
    return {name: values for name, values in columns.items() if values.count(None) < len(values)}


def _parsed(name: str, parse: Callable[[Any], T], answer: Any) -> T:
    try:
        return parse(answer)
    except (DecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
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


def _missed(value: Mapping[str, Any]) -> int | None:
    found = value["missed"]
    return None if value["stale"] or found is None else int(found)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
