"""What the webhook lanes count and time, for /metrics and for the benchmark."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable
from itertools import accumulate
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.gateway.lanes import Outcome

Stage = Literal["read_to_sent", "sent_to_answered", "answered_to_settled"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
OUTCOMES: Final = (*get_args(Outcome), "our_fault")
_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0)


class Meter(Collector):
    """Counts by outcome and times by stage.

    Plain numbers, shown when somebody asks: the client library's histograms lock and look up at each of three
    observations a delivery, which was 4 % of the worker.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.counts: Tally[str] = Tally()
        self._buckets: dict[Stage, list[int]] = {stage: [0] * (len(_BUCKETS) + 1) for stage in STAGES}
        if registry is not None:
            registry.register(self)

    def timed(self, stage: Stage, seconds: float) -> None:
        self._buckets[stage][bisect_left(_BUCKETS, seconds)] += 1
        self.seconds[stage] += seconds

    def counted(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        stages = HistogramMetricFamily(
            "pms_webhook_stage_seconds", "Time a delivery spent in a stage", labels=["stage"]
        )
        bounds = [*map(str, _BUCKETS), "+Inf"]
        for stage in STAGES:
            up_to = accumulate(self._buckets[stage])
            stages.add_metric([stage], list(zip(bounds, up_to, strict=True)), self.seconds[stage])
        attempts = CounterMetricFamily(
            "pms_webhook_attempts", "Attempts by what became of them", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            attempts.add_metric([outcome], self.counts[outcome])
        return (stages, attempts)
