"""The database's log in little, which answers as worker.changed_tags does; and jobs by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.engine.clock import START
from worker.cache.handlers import Invalidate, TenantPayload
from worker.cache.store import TAGS
from worker.engine.job import AttemptId, Job, JobId
from worker.gateway.cache import Changed

TENANT = "00000000-0000-0000-0000-00000000000a"


@dataclass
class Log:
    """Numbers from 1, each with the tag or the API key that changed. `meanwhile` runs between a job's look at
    the log and its word to Redis, once."""

    epoch: str = "e1"
    keys_of: set[str] = field(default_factory=set)
    changes: list[str] = field(default_factory=list)
    asked: list[tuple[str | None, int]] = field(default_factory=list)
    meanwhile: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)

    def write(self, *changed: str) -> int:
        self.changes += changed
        return len(self.changes)

    async def changed(self, tenant_id: str, *, epoch: str | None, after: int) -> Changed:
        assert tenant_id == TENANT
        self.asked.append((epoch, after))
        head = len(self.changes)
        if epoch != self.epoch:
            told = {"tags": dict.fromkeys(TAGS, head), "keys": dict.fromkeys(self.keys_of, head)}
        else:
            last = {what: n for n, what in enumerate(self.changes, 1) if n > after}
            told = {
                "tags": {what: n for what, n in last.items() if what in TAGS},
                "keys": {what: n for what, n in last.items() if what in self.keys_of},
            }
        answer = Changed.model_validate({"epoch": self.epoch, "seq": head, **told})
        if self.meanwhile:
            await self.meanwhile.pop()()
        return answer


def job(tenant_id: str = TENANT) -> Job[TenantPayload]:
    payload = TenantPayload(tenant_id=tenant_id)
    return Job(JobId(1), AttemptId("a"), Invalidate.kind, tenant_id, payload, 1, 5, START)
