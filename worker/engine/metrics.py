"""What /metrics shows. Its own registry: nothing is global."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.engine.ports import Dispatched

_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Every metric of the engine; slices may register their own with `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = self._counter("pms_events_dispatched", "Changes moved from the outbox to the log")
        self._deliveries = self._counter("pms_deliveries_queued", "Deliveries that dispatch queued")
        self._queued = self._counter("pms_jobs_queued", "Jobs that dispatch queued")
        self._looks = Histogram(
            "pms_dispatch_seconds", "One look at the outbox", buckets=_FAST, registry=self.registry
        )
        self._settled = Counter(
            "pms_jobs_settled", "Jobs by what became of them", ["kind", "outcome"], registry=self.registry
        )
        self._job_seconds = Histogram(
            "pms_job_seconds", "Time a handler took", ["kind"], buckets=_SLOW, registry=self.registry
        )
        self._realtime = Gauge(
            "pms_realtime_state", "1 for the state it is in", ["state"], registry=self.registry
        )
        self._calls = Histogram(
            "pms_rpc_seconds",
            "Calls of the database's functions, by what came of them",
            ["function", "outcome"],
            buckets=_FAST,
            registry=self.registry,
        )
        self.ready = Gauge("pms_ready", "1 while /readyz answers 200", registry=self.registry)
        self.loop_lag = Gauge(
            "pms_loop_lag_seconds", "How late the event loop woke a sleeper", registry=self.registry
        )

    def looked(self, moved: Dispatched, *, seconds: float) -> None:
        self._looks.observe(seconds)
        self._events.inc(moved.events)
        self._deliveries.inc(moved.deliveries)
        self._queued.inc(moved.jobs)

    def settled(self, *, kind: str, outcome: str, seconds: float) -> None:
        self._settled.labels(kind=kind, outcome=outcome).inc()
        self._job_seconds.labels(kind=kind).observe(seconds)

    def called(self, function: str, *, outcome: str, seconds: float) -> None:
        self._calls.labels(function=function, outcome=outcome).observe(seconds)

    def realtime(self, state: str, *, states: Iterable[str]) -> None:
        for name in states:
            self._realtime.labels(state=name).set(name == state)

    def watch(self, name: str, stats: Callable[[], Mapping[str, float]]) -> None:
        """Shows a runner's `stats()` as `pms_<name>_<stat>`; a name ending in `_total` is a counter."""
        self.registry.register(_Stats(name, stats))

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)


class _Stats(Collector):
    def __init__(self, name: str, stats: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._stats = name, stats

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for stat, value in self._stats().items():
            name, text = f"pms_{self._name}_{stat}", f"{stat} of {self._name}"
            if stat.endswith("_total"):
                yield CounterMetricFamily(name.removesuffix("_total"), text, value=value)
            else:
                yield GaugeMetricFamily(name, text, value=value)
