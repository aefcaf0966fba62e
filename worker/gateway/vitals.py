"""`queue_health`, `sync_health` and `adapter_health`: the state of queues, vacuum, partitions, endpoints,
sync and the edge adapter, for /metrics, /readyz and doctor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.ports import Rpc
from worker.errors import GatewayError
from worker.gateway.answers import parse
from worker.gateway.mark import DeliveryMark
from worker.log import get_logger

ENOUGH_PARTITIONS: Final = 3
"""Days ahead below which upkeep is late: it makes seven, four times a day."""
_MUCH_DEAD: Final = 100_000
_LONG_HELD: Final = 600.0
_MANY_XIDS: Final = 1_000_000
UNSEEN: Final = {"sync_health": "vitals.sync_unseen", "adapter_health": "vitals.adapter_unseen"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


P = TypeVar("P", bound=_Part)


class TableHealth(_Part):
    """Rows as Postgres' statistics have them: estimates."""

    live: int
    dead: int
    bytes: int
    """With its indexes."""
    vacuumed_seconds: float | None
    """Since the last vacuum; None: never, as far as the statistics know."""

    @property
    def bloated(self) -> bool:
        """Whether vacuum is far behind: something holds xmin, or it does not run."""
        return self.dead > _MUCH_DEAD and self.dead > 10 * self.live


class XminHolder(_Part):
    """Who keeps vacuum from cleaning up behind it."""

    kind: Literal["session", "slot", "prepared"]
    name: str
    xids: int
    """Transactions begun since."""
    seconds: float | None
    """None: a slot does not tell."""

    @property
    def long(self) -> bool:
        """Whether it is time to ask why."""
        return self.seconds >= _LONG_HELD if self.seconds is not None else self.xids >= _MANY_XIDS

    def __str__(self) -> str:
        held = "" if self.seconds is None else f" for {self.seconds:,.0f} s"
        return f"{self.kind} {self.name}{held}, {self.xids:,} transactions"


class Spread(_Part):
    """How values are spread, as histograms have it: under each bound how many are not above it."""

    buckets: Sequence[tuple[float, int]]
    sum: float


class SyncHealth(_Part):
    """The answer of `sync_health`; counts are cut at 10,000."""

    pending: int
    pending_oldest_seconds: float | None
    conflicts_open: int
    clients: int
    """Seen in the last day; `lag_seconds` and `lag_events` are theirs."""
    lag_seconds: Spread
    lag_events: Spread


class InboundHealth(_Part):
    """Inbound events: refused and of unknown types in the last day, and those of orders that wait."""

    rejected: int
    unknown: int
    queued: int
    oldest_queued_seconds: float


class InstancesHealth(_Part):
    """Instances of the edge adapter that were heard of in the last 5 minutes."""

    redis: int
    """With a Redis: they wait for a worker to tell it what changes."""
    none: int


class InvalidationsHealth(_Part):
    """Tenants of which Redis was not told the last changes; counted up to 10,000."""

    waiting: int
    oldest_seconds: float


class AdapterHealth(_Part):
    """The answer of `adapter_health`. `counts` are of all instances, since ever; what nobody counted is left
    out."""

    inbound: InboundHealth
    instances: InstancesHealth
    invalidations: InvalidationsHealth
    counts: Mapping[str, int]


class QueueHealth(_Part):
    """The answer of `queue_health`; counts are cut at 10,000, active endpoints are an estimate beyond."""

    tables: Mapping[str, TableHealth]
    xmin: XminHolder | None
    outbox_oldest_seconds: float | None
    fan_outs: int
    endpoints: Mapping[str, int]
    """By status."""
    endpoints_failing: int
    jobs_buried: int
    invalid_events: int
    partitions_ahead_days: int = Field(ge=-1)
    """-1: today's is missing."""
    oldest_partition_days: int
    sync: SyncHealth | None = None
    """None where nobody asked, or nobody answered."""
    adapter: AdapterHealth | None = None
    """The same."""


def dead_line(health: QueueHealth) -> str:
    """The dead rows of the queues, as people read them: how many in all, and where most are."""
    name, worst = max(health.tables.items(), key=lambda item: item[1].dead)
    dead = sum(table.dead for table in health.tables.values())
    return f"{dead:,} dead rows in the queues" + (f", most in {name} ({worst.dead:,})" if dead else "")


def endpoints_line(health: QueueHealth) -> str:
    """The endpoints, as people read them."""
    by_status = ", ".join(f"{count:,} {status}" for status, count in health.endpoints.items())
    return f"{by_status}; {health.endpoints_failing:,} failing"


class RpcVitals:
    """Asks with dispatch's mark, so that a look does not walk what was deleted from the outbox."""

    def __init__(self, rpc: Rpc, mark: DeliveryMark | None = None) -> None:
        self._rpc, self._mark = rpc, mark or DeliveryMark()

    async def look(self) -> QueueHealth:
        """Raises `GatewayError` where the queues cannot be seen. Where only sync or the adapter cannot be,
        they are."""
        health = parse(QueueHealth, await self._rpc.call("queue_health", p_mark=self._mark.outbox))
        sync = await self._part(SyncHealth, "sync_health")
        adapter = await self._part(AdapterHealth, "adapter_health")
        return health.model_copy(update={"sync": sync, "adapter": adapter})

    async def _part(self, model: type[P], function: str) -> P | None:
        try:
            return parse(model, await self._rpc.call(function))
        except GatewayError as error:
            get_logger("worker.vitals").warning(UNSEEN[function], error=str(error))
            return None
