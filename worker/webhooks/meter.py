"""What the webhook lanes count and time, for /metrics and for the benchmark."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.gateway.lanes import Outcome

Stage = Literal["read_to_sent", "sent_to_answered", "answered_to_settled"]
STAGES: Final[tuple[Stage, ...]] = ("read_to_sent", "sent_to_answered", "answered_to_settled")
_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0)


class Meter:
    """Counts by outcome and times by stage."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        stages = Histogram(
            "pms_webhook_stage_seconds",
            "Time a delivery spent in a stage",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        attempts = Counter(
            "pms_webhook_attempts", "Attempts by what became of them", ["outcome"], registry=registry
        )
        self._stages = {stage: stages.labels(stage=stage) for stage in STAGES}
        self._attempts = {
            outcome: attempts.labels(outcome=outcome) for outcome in (*get_args(Outcome), "our_fault")
        }
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.counts: Tally[str] = Tally()

    def timed(self, stage: Stage, seconds: float) -> None:
        self._stages[stage].observe(seconds)
        self.seconds[stage] += seconds

    def counted(self, outcome: str) -> None:
        self._attempts[outcome].inc()
        self.counts[outcome] += 1
