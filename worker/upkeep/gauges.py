"""The vital signs as gauges.

Collected anew at every scrape from the last look, so that a series ends with what it was about: a holder of
xmin that is gone leaves none behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.gateway.vitals import AdapterHealth, QueueHealth, Spread, SyncHealth, XminHolder
from worker.log import redact
from worker.upkeep.vitals import Vitals

_NAMED_FROM: Final = 60.0
_LONGEST_NAME: Final = 120
_ENDINGS: Final = ("ok", "invalid", "refused", "limited", "busy", "failed")
_OUTCOMES: Final = ("hit", "miss", "joined", "stale", "bypass")
_STATS: Final = {
    "pms_cache_stampedes": ("stampedes", "Fills that more than one reader of an instance waited for"),
    "pms_cache_early_renewals": ("early", "Entries renewed before they ran out"),
    "pms_origin_refused": ("origin_refused", "Reads of the database refused because too many waited"),
}


class VitalGauges(Collector):
    """Register it once with the worker's registry."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield _gauge(
            "pms_vitals_age_seconds",
            "Since the last look at the queues that succeeded, or since the start",
            self._vitals.age.total_seconds(),
        )
        if self._vitals.last is not None:
            yield from _tables(self._vitals.last)
            yield from _xmin(self._vitals.last.xmin)
            yield from _counts(self._vitals.last)
            if self._vitals.last.sync is not None:
                yield from _sync(self._vitals.last.sync)
            if self._vitals.last.adapter is not None:
                yield from _adapter(self._vitals.last.adapter)


def _adapter(health: AdapterHealth) -> Iterator[Metric]:
    inbound, waiting, counts = health.inbound, health.invalidations, health.counts
    yield _gauge("pms_inbound_rejected", "Inbound events refused in the last day", inbound.rejected)
    yield _gauge("pms_inbound_unknown", "Inbound events of unknown types today", inbound.unknown)
    yield _gauge("pms_inbound_queued", "Inbound events that wait", inbound.queued)
    waits = inbound.oldest_queued_seconds
    yield _gauge("pms_inbound_oldest_seconds", "How long the oldest of them waits", waits)
    yield _gauge("pms_cache_waiting", "Tenants whose changes Redis was not told yet", waiting.waiting)
    yield _gauge("pms_cache_lag_seconds", "How long the oldest such change waits", waiting.oldest_seconds)
    instances = GaugeMetricFamily(
        "pms_api_instances", "Instances heard of in the last 5 minutes, by their cache", labels=["cache"]
    )
    instances.add_metric(["redis"], health.instances.redis)
    instances.add_metric(["none"], health.instances.none)
    yield instances
    yield _counters("pms_api_requests", "Requests by how they ended", _ENDINGS, counts)
    yield _counters("pms_cache_reads", "Reads by what the cache did", _OUTCOMES, counts)
    for name, (stat, text) in _STATS.items():
        yield CounterMetricFamily(name, text, value=counts.get(stat, 0))


def _counters(name: str, text: str, outcomes: Iterable[str], counts: Mapping[str, int]) -> Metric:
    # from the start, for a series that appears with its first count hides it from rate()
    family = CounterMetricFamily(name, text, labels=["outcome"])
    for outcome in outcomes:
        family.add_metric([outcome], counts.get(outcome, 0))
    return family


def _tables(health: QueueHealth) -> Iterator[Metric]:
    live = GaugeMetricFamily("pms_table_live_rows", "Rows that are there: an estimate", labels=["table"])
    dead = GaugeMetricFamily("pms_table_dead_rows", "Rows that vacuum has yet to clean up", labels=["table"])
    size = GaugeMetricFamily("pms_table_bytes", "Size with indexes", labels=["table"])
    vacuumed = GaugeMetricFamily("pms_table_vacuumed_seconds", "Since the last vacuum", labels=["table"])
    for name, table in health.tables.items():
        live.add_metric([name], table.live)
        dead.add_metric([name], table.dead)
        size.add_metric([name], table.bytes)
        if table.vacuumed_seconds is not None:
            vacuumed.add_metric([name], table.vacuumed_seconds)
    yield from (live, dead, size, vacuumed)


def _xmin(holder: XminHolder | None) -> Iterator[Metric]:
    xids = GaugeMetricFamily(
        "pms_xmin_xids", "Transactions since the snapshot that vacuum waits for", labels=["kind", "name"]
    )
    seconds = GaugeMetricFamily("pms_xmin_seconds", "How long it is held", labels=["kind", "name"])
    if holder is not None:
        labels = [holder.kind, _name(holder)]
        xids.add_metric(labels, holder.xids)
        if holder.seconds is not None:
            seconds.add_metric(labels, holder.seconds)
    yield from (xids, seconds)


def _name(holder: XminHolder) -> str:
    # somebody holds it at every moment of a busy day: naming each would leave a new series at every look
    if holder.kind == "session" and (holder.seconds or 0) < _NAMED_FROM:
        return "brief"
    return str(redact(holder.name))[:_LONGEST_NAME]


def _counts(health: QueueHealth) -> Iterator[Metric]:
    # no backlog has no oldest: it waits for 0 s
    yield _gauge(
        "pms_outbox_oldest_seconds", "How long the oldest change waits", health.outbox_oldest_seconds or 0
    )
    yield _gauge("pms_fan_outs_waiting", "Events still to be queued for many endpoints", health.fan_outs)
    endpoints = GaugeMetricFamily("pms_webhook_endpoints", "Endpoints by status", labels=["status"])
    for status, count in health.endpoints.items():
        endpoints.add_metric([status], count)
    yield endpoints
    yield _gauge("pms_webhook_endpoints_failing", "Endpoints that fail now", health.endpoints_failing)
    yield _gauge("pms_jobs_buried", "Jobs that wait for a person", health.jobs_buried)
    yield _gauge("pms_invalid_events", "Events that webhooks do not carry", health.invalid_events)
    yield _gauge(
        "pms_partitions_ahead_days", "Partitions ahead; -1: today's is missing", health.partitions_ahead_days
    )
    yield _gauge("pms_oldest_partition_days", "Age of the oldest day kept", health.oldest_partition_days)


def _sync(health: SyncHealth) -> Iterator[Metric]:
    yield _gauge("pms_sync_pending", "Pushed changes that wait for the worker", health.pending)
    yield _gauge(
        "pms_sync_pending_oldest_seconds", "How long the oldest waits", health.pending_oldest_seconds or 0
    )
    yield _gauge("pms_sync_conflicts_open", "Conflicts that wait for a person", health.conflicts_open)
    yield _gauge("pms_sync_clients", "Clients that pulled in the last day", health.clients)
    yield _spread(
        "pms_sync_client_lag_seconds",
        "Clients by how long they lack what is in the log",
        health.lag_seconds,
        health.clients,
    )
    yield _spread(
        "pms_sync_client_lag_events", "Clients by how much they lack", health.lag_events, health.clients
    )


def _spread(name: str, text: str, spread: Spread, count: int) -> GaugeHistogramMetricFamily:
    buckets = [*((str(bound), number) for bound, number in spread.buckets), ("+Inf", count)]
    return GaugeHistogramMetricFamily(name, text, buckets=buckets, gsum_value=spread.sum)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
