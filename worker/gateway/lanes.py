"""Webhook lanes as the worker knows them: what waits in them, what became of it, and the store of both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, Protocol

from msgspec import Struct

Outcome = Literal["delivered", "retry", "probe", "failed", "gone", "expired", "blocked"]
"""`probe`: it failed while the endpoint was down and stays where it was; `blocked`: not tried, it lines up
behind a retry of its entity."""


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

    `surplus`: how many lanes are more than this worker's fair share and should be given back. `partial`:
    others are held as well, and the next call tells more of them.
    """

    token: int
    lanes: tuple[Lane, ...]
    surplus: int = 0
    partial: bool = False


class Delivery(Struct, gc=False):
    """One message for one lane; `body` is the exact text to sign and send, `attempt` counts from 1."""

    delivery_id: int
    lane_id: int
    event_id: str
    body: bytes
    occurred_at: datetime
    type: str = ""
    retry: bool = False
    attempt: int = 1
    order_key: str | None = None
    """Of an ordered lane: the entity whose deliveries go one after the other."""
    blocked: bool = False
    """A retry of the same entity waits in the database: this one lines up behind it."""
    expires_at: datetime | None = None
    """None: as its lane says."""
    version: int = 0
    """Of its endpoint when it was read: a later one than the lane's means that the lane was changed since."""
    read_at: float = 0.0
    """When the answer that brought it came, in monotonic seconds."""

    def __repr__(self) -> str:
        # never the body: it is the tenant's
        return f"Delivery({self.delivery_id}, lane {self.lane_id}, attempt {self.attempt}, {self.event_id})"


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


class Result(Struct, gc=False, omit_defaults=True):
    """What became of one delivery, in the form of docs/worker-rpc.md; becomes one row of `webhook_attempts`,
    but for `blocked`. Times in milliseconds end in `_ms`."""

    delivery_id: int
    lane_id: int
    attempt: int
    event_id: str
    type: str
    outcome: Outcome
    started_at: datetime
    duration_ms: float
    status: int | None = None
    first_byte_ms: float | None = None
    response: str | None = None
    connect_ms: float | None = None
    dns_ms: float | None = None
    error: str | None = None
    retry_in_seconds: float | None = None
    expires_at: datetime | None = None
    """Of one that is not ended yet: until when it is worth trying."""
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

    async def find_missed(
        self, token: int, *, through: int, in_hand: Collection[int], behind: Collection[int]
    ) -> int | None:
        """The least first attempt up to `through` of active lanes, those in `behind` apart, that is not
        `in_hand`; None: there is none, or the lease is gone."""

    async def settle(self, token: int, results: Sequence[Result]) -> bool:
        """Writes results back, all or none; False when the lease is gone and nothing was changed."""

    async def release(self, token: int, *, lanes: Collection[int] | None = None) -> None:
        """Gives `lanes` back; without them all, and the lease ends."""
