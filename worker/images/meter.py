"""What pictures cost and bring, for /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.images.hosts import master_of
from worker.images.picture import Picture

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ImageMeter:
    """Counts pictures by how they ended, and bytes; shown where a `registry` is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._ended = Counter("pms_images", "Pictures by how they ended", ["outcome"], registry=registry)
        self._source = Counter("pms_image_source_bytes", "Bytes of sources that are shown", registry=registry)
        self._master = Counter("pms_image_master_bytes", "Bytes of what was made of them", registry=registry)
        self._seconds = Histogram(
            "pms_image_step_seconds",
            "Fetching, working and storing of a picture",
            ["step"],
            buckets=_BUCKETS,
            registry=registry,
        )

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(step=step).observe(time.perf_counter() - began)

    def ready(self, picture: Picture) -> None:
        self._ended.labels(outcome="ready").inc()
        self._source.inc(picture.source_bytes)
        self._master.inc(master_of(picture.renditions).bytes)

    def ended(self, outcome: str) -> None:
        self._ended.labels(outcome=outcome).inc()
