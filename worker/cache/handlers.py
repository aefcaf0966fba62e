"""The job that tells the edge adapter's cache what changed in a tenant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict

from worker.cache.meter import CacheMeter
from worker.cache.store import CacheAway, Place
from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.job import Done, Job, Outcome, Snooze
from worker.errors import PayloadError
from worker.gateway.cache import Changed

AWAY_PAUSE: Final = timedelta(seconds=1)
BUSY_PAUSE: Final = timedelta(milliseconds=250)
TRIES: Final = 3


class Changes(Protocol):
    """The log. Raises `GatewayError`."""

    async def changed(self, tenant_id: str, *, epoch: str | None, after: int) -> Changed: ...


class Store(Protocol):
    """Redis. Raises `CacheAway`."""

    async def through(self, tenant_id: str) -> Place | None: ...
    async def tell(
        self,
        tenant_id: str,
        was: Place | None,
        now: Place,
        *,
        tags: Mapping[str, int],
        keys: Mapping[str, int],
    ) -> bool: ...


class TenantPayload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Tells Redis the last change of each tag of a tenant, as far as its log goes by now. Harmless twice, and
    at the same time: numbers only grow, and whoever comes second asks the log again."""

    changes: Changes
    store: Store
    condition: Condition
    """Whether Redis answers."""
    clock: Clock
    warm: Callable[[str], None] = lambda _tenant_id: None
    """Hears of each tenant that was told of; must not block."""
    meter: CacheMeter = field(default_factory=CacheMeter)
    kind: ClassVar[str] = "cache.invalidate"
    Payload: ClassVar[type[TenantPayload]] = TenantPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        tenant_id: str = job.payload.tenant_id
        if job.tenant_id not in (None, tenant_id):
            raise PayloadError("the job and its payload name different tenants")
        try:
            for _ in range(TRIES):
                if await self._tell(tenant_id):
                    break
            else:
                return Snooze(BUSY_PAUSE, "others tell of the same tenant")
        except CacheAway as error:
            self.condition.failed(error)
            return Snooze(AWAY_PAUSE, str(error))
        self.condition.ok()
        self.meter.told(self.clock.now() - job.created_at)
        self.warm(tenant_id)
        return Done()

    async def _tell(self, tenant_id: str) -> bool:
        """False when Redis changed between the look and the word. Redis is read first: what it says must not
        be newer than what is asked of the log."""
        was = await self.store.through(tenant_id)
        # None: Redis was emptied, and forgot what it was told before; so all of it counts as changed
        changed = await self.changes.changed(
            tenant_id, epoch=None if was is None else was.epoch, after=0 if was is None else was.seq
        )
        now = Place(changed.epoch, changed.seq)
        return await self.store.tell(tenant_id, was, now, tags=changed.tags, keys=changed.keys)
