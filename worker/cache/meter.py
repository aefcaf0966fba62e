"""How soon changes are told to the cache, for /metrics."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class CacheMeter:
    """Shown where a `registry` is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = Histogram(
            "pms_cache_invalidation_seconds",
            "From the dispatch of a change to Redis knowing of it",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._alive = Gauge(
            "pms_cache_alive",
            "1 while this worker says in Redis that it tells what changes",
            registry=registry,
        )
        self._warmed = Counter(
            "pms_cache_warmings",
            "Calls that ask the edge adapter to fill its cache again",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("ok", "failed"):  # from the start, so that the first failure is a rise
            self._warmed.labels(outcome=outcome)

    def told(self, after: timedelta) -> None:
        self._seconds.observe(max(after.total_seconds(), 0.0))

    def alive(self, beats: bool) -> None:
        self._alive.set(beats)

    def warmed(self, *, ok: bool) -> None:
        self._warmed.labels(outcome="ok" if ok else "failed").inc()
