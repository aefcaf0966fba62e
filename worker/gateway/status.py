"""`worker_status`: what is waiting, who works, and what the schema is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.answers import parse

SCHEMA_VERSION = 1
"""The version of the migrations that this worker was written for."""
CUT = 10_000
"""Depths are counted up to here."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class OutboxDepth(_Part):
    depth: int
    oldest_seconds: float | None


class Deliveries(_Part):
    pending: int
    held: int
    """What paused and disabled endpoints are owed: nobody works on it."""
    oldest_seconds: float | None


class Retries(_Part):
    waiting: int
    next_due_at: AwareDatetime | None


class Jobs(_Part):
    ready: int
    running: int
    buried: int


class LaneCount(_Part):
    total: int
    leased: int


class Peer(_Part):
    name: str
    lanes: int
    expires_at: AwareDatetime


class Status(_Part):
    """The answer of `worker_status`; depths are exact up to 10,000 and cut there."""

    schema_version: int
    now: AwareDatetime
    outbox: OutboxDepth
    deliveries: Deliveries
    retries: Retries
    jobs: Jobs
    lanes: LaneCount
    workers: list[Peer]
    partitions_ahead_days: int
    secrets: Literal["vault", "table"]
    private_hosts: bool = False
    """Whether the database takes endpoints in private networks: see private.webhook_policy."""
    oldest_xmin_seconds: float | None

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Differs whenever work was done. A depth that is cut stands still meanwhile: its oldest tell."""
        outbox, deliveries = self.outbox, self.deliveries
        return (
            *(outbox.depth, self._since(outbox.depth, outbox.oldest_seconds)),
            *(
                deliveries.pending,
                self._since(deliveries.pending + deliveries.held, deliveries.oldest_seconds),
            ),
            *(self.retries, self.jobs),
        )

    def _since(self, depth: int, seconds: float | None) -> datetime | None:
        """Since when the oldest of a cut depth waits, to the second: ages grow while nothing is done."""
        if depth < CUT or seconds is None:
            return None
        return (self.now - timedelta(seconds=seconds)).replace(microsecond=0)

    def next_retry_within(self, until: datetime) -> bool:
        """Whether a retry falls due up to `until`, by the database's clock."""
        return self.retries.next_due_at is not None and self.retries.next_due_at <= until

    def waits_for_retry(self, until: datetime) -> bool:
        """Whether a retry lies ahead that falls due up to `until`: then standing still is no wonder."""
        due = self.retries.next_due_at
        return due is not None and self.now < due <= until


async def read_status(rpc: Rpc) -> Status:
    """Raises `GatewayError`; of a schema that is too new to be read it says so."""
    answer = await rpc.call("worker_status")
    try:
        return parse(Status, answer)
    except BadAnswer:
        version = answer.get("schema_version") if isinstance(answer, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise BadAnswer(
                f"the database has schema version {version}, this worker knows {SCHEMA_VERSION}: "
                "upgrade the worker"
            ) from None
        raise
