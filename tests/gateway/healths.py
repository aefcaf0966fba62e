"""Answers of `queue_health`: a quiet one, and what a test changes of it."""

from __future__ import annotations

from typing import Any

from worker.gateway.vitals import QueueHealth


def health(*, dead: int = 0, **changed: Any) -> QueueHealth:
    """A quiet database's, with `dead` rows in the outbox."""
    table = {"live": 1, "dead": 0, "bytes": 8192, "vacuumed_seconds": None}
    answer: dict[str, Any] = {
        "tables": {"queue.jobs": table, "private.outbox": {**table, "dead": dead, "vacuumed_seconds": 12.5}},
        "xmin": None,
        "outbox_oldest_seconds": None,
        "fan_outs": 0,
        "endpoints": {"active": 0, "paused": 0, "disabled": 0},
        "endpoints_failing": 0,
        "jobs_buried": 0,
        "invalid_events": 0,
        "partitions_ahead_days": 7,
        "oldest_partition_days": 30,
    }
    return QueueHealth.model_validate(answer | changed)
