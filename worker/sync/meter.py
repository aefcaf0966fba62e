"""How long pushed changes wait until they are settled, for /metrics."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry, Histogram

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)


class SettleMeter:
    """Times from a change's push to its being written or rejected; shown where a `registry` is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = Histogram(
            "pms_sync_settle_seconds",
            "From the push of a change to its being written or rejected",
            buckets=_BUCKETS,
            registry=registry,
        )

    def settled(self, after: timedelta) -> None:
        self._seconds.observe(after.total_seconds())
