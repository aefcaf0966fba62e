"""The vital signs: looked at again and again, kept through an outage, gone with what they tell of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.engine.clock import ManualClock
from tests.gateway.healths import health
from worker.engine.condition import Condition
from worker.engine.metrics import Metrics
from worker.errors import BadAnswer, Busy, Unreachable
from worker.gateway.mark import DeliveryMark
from worker.gateway.vitals import QueueHealth, RpcVitals
from worker.upkeep.gauges import VitalGauges
from worker.upkeep.vitals import EVERY, Vitals

SYNC = {
    "pending": 12,
    "pending_oldest_seconds": 3.5,
    "conflicts_open": 2,
    "clients": 5,
    "lag_seconds": {"buckets": [[0, 1], [60, 4]], "sum": 900.5},
    "lag_events": {"buckets": [[0, 1], [1000, 5]], "sum": 44},
}
HOLDER = {"kind": "session", "name": "pid 7, postgres, etl, idle in transaction", "xids": 44, "seconds": 61}


@dataclass
class Door:
    """The database as the side sees it: answers `seen`, or fails while it is `away`."""

    clock: ManualClock
    seen: QueueHealth = field(default_factory=health)
    away: Exception | None = None
    looks: list[float] = field(default_factory=list)

    async def look(self) -> QueueHealth:
        self.looks.append(self.clock.monotonic())
        if self.away is not None:
            raise self.away
        return self.seen


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def door(clock: ManualClock) -> Door:
    return Door(clock)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def vitals(door: Door, clock: ManualClock, metrics: Metrics) -> AsyncIterator[Vitals]:
    """A side that is running, and has looked once."""
    condition = Condition("vitals", clock, lost="part.failing", back="part.working")
    side = Vitals(door, clock=clock, condition=condition, chance=random.Random(7))
    metrics.registry.register(VitalGauges(side))
    task = asyncio.create_task(side.run())
    yield side
    assert not task.done(), "it never ends by itself"
    task.cancel()
    await asyncio.wait([task])


def series(metrics: Metrics, name: str) -> dict[str, float]:
    """Every series of a metric: its labels as they are printed, and its value."""
    lines = [
        line for line in metrics.render().decode().splitlines() if line.startswith((name + "{", name + " "))
    ]
    return {line[len(name) :].rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_it_looks_at_once_and_then_about_every_15_seconds(
    vitals: Vitals, door: Door, clock: ManualClock
) -> None:
    await clock.advance(600)
    gaps = [after - before for before, after in zip(door.looks, door.looks[1:], strict=False)]
    assert door.looks[0] == 0
    assert all(12 <= gap <= 18 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > len(gaps) / 2, "many workers must not look in step"
    assert abs(sum(gaps) / len(gaps) - EVERY.total_seconds()) < 1


@pytest.mark.parametrize("fault", [Unreachable("away"), BadAnswer("another shape")])
async def test_an_outage_keeps_the_last_values_and_shows_their_age(
    vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics, fault: Exception
) -> None:
    door.seen = health(jobs_buried=3)
    await clock.advance(18)
    with capture_logs() as logs:
        door.away = fault
        await clock.advance(300)
    assert len([line for line in logs if line["event"] == "part.failing"]) == 1
    assert series(metrics, "pms_jobs_buried") == {"": 3}
    assert 300 <= series(metrics, "pms_vitals_age_seconds")[""] <= 318
    door.away, door.seen = None, health(jobs_buried=4)
    await clock.advance(18)
    assert series(metrics, "pms_jobs_buried") == {"": 4}
    assert series(metrics, "pms_vitals_age_seconds")[""] < 18


async def test_before_the_first_look_there_is_nothing_but_its_age(
    door: Door, clock: ManualClock, metrics: Metrics
) -> None:
    door.away = Unreachable("away")
    condition = Condition("vitals", clock, lost="part.failing", back="part.working")
    side = Vitals(door, clock=clock, condition=condition)
    metrics.registry.register(VitalGauges(side))
    task = asyncio.create_task(side.run())
    await clock.advance(40)
    assert series(metrics, "pms_vitals_age_seconds") == {"": 40}
    assert b"pms_partitions_ahead_days" not in metrics.render(), "a zero would be an alarm"
    assert (side.reasons, side.notes) == ([], {})
    task.cancel()


async def test_a_former_holder_of_xmin_leaves_no_series(
    vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics
) -> None:
    door.seen = health(xmin=HOLDER)
    await clock.advance(18)
    etl = '{kind="session",name="pid 7, postgres, etl, idle in transaction"}'
    assert series(metrics, "pms_xmin_seconds") == {etl: 61}
    assert series(metrics, "pms_xmin_xids") == {etl: 44}
    door.seen = health(xmin={"kind": "slot", "name": "replica", "xids": 9, "seconds": None})
    await clock.advance(18)
    assert series(metrics, "pms_xmin_xids") == {'{kind="slot",name="replica"}': 9}
    assert series(metrics, "pms_xmin_seconds") == {}
    door.seen = health()
    await clock.advance(18)
    assert series(metrics, "pms_xmin_xids") == {}


async def test_sessions_of_a_moment_share_one_name(
    vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics
) -> None:
    seen = set()
    for pid in range(20):
        door.seen = health(xmin=HOLDER | {"name": f"pid {pid}", "seconds": 0.2})
        await clock.advance(18)
        seen |= set(series(metrics, "pms_xmin_xids"))
    assert seen == {'{kind="session",name="brief"}'}


async def test_a_name_is_bounded_and_tells_no_secret(
    vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics
) -> None:
    door.seen = health(xmin=HOLDER | {"name": "sb_secret_abcdefgh " + "x" * 1000})
    await clock.advance(18)
    [labels] = series(metrics, "pms_xmin_seconds")
    assert "sb_secret" not in labels
    assert len(labels) < 200


async def test_a_table_that_was_never_vacuumed_has_no_age(
    vitals: Vitals, clock: ManualClock, metrics: Metrics
) -> None:
    await clock.advance(18)
    assert series(metrics, "pms_table_vacuumed_seconds") == {'{table="private.outbox"}': 12.5}
    assert set(series(metrics, "pms_table_bytes")) == {'{table="private.outbox"}', '{table="queue.jobs"}'}


async def test_clients_that_sync_are_shown_in_buckets(
    vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics
) -> None:
    await clock.advance(18)
    assert b"pms_sync" not in metrics.render(), "nobody asked"
    door.seen = health(sync=SYNC)
    await clock.advance(18)
    buckets = series(metrics, "pms_sync_client_lag_seconds_bucket")
    assert buckets == {'{le="0.0"}': 1, '{le="60.0"}': 4, '{le="+Inf"}': 5}
    assert series(metrics, "pms_sync_client_lag_events_gsum") == {"": 44}
    assert series(metrics, "pms_sync_pending") == {"": 12}
    assert series(metrics, "pms_sync_pending_oldest_seconds") == {"": 3.5}
    door.seen = health(sync=SYNC | {"pending": 0, "pending_oldest_seconds": None})
    await clock.advance(18)
    assert series(metrics, "pms_sync_pending_oldest_seconds") == {"": 0}
    door.seen = health()
    await clock.advance(18)
    assert b"pms_sync" not in metrics.render(), "an old value would look like a good one"


@pytest.mark.parametrize(
    ("ahead", "reason", "note"), [(7, 0, 0), (3, 0, 0), (2, 0, 1), (1, 0, 1), (0, 1, 0), (-1, 1, 0)]
)
async def test_partitions_make_a_note_and_then_a_reason(
    vitals: Vitals, door: Door, clock: ManualClock, ahead: int, reason: int, note: int
) -> None:
    door.seen = health(partitions_ahead_days=ahead)
    await clock.advance(18)
    assert (len(vitals.reasons), len(vitals.notes)) == (reason, note)
    door.seen = health()
    await clock.advance(18)
    assert (vitals.reasons, vitals.notes) == ([], {})


async def test_what_was_seen_long_ago_is_a_note_and_no_reason(
    vitals: Vitals, door: Door, clock: ManualClock
) -> None:
    door.seen = health(partitions_ahead_days=0)
    await clock.advance(18)
    door.away = Unreachable("away")
    await clock.advance(60)
    assert vitals.reasons, "still true for all that is known"
    await clock.advance(120)
    assert vitals.reasons == []
    assert set(vitals.notes) == {"vitals"}


ADAPTER = {
    "inbound": {"rejected": 2, "unknown": 1, "queued": 3, "oldest_queued_seconds": 4.5},
    "instances": {"redis": 3, "none": 1},
    "invalidations": {"waiting": 2, "oldest_seconds": 7.5},
    "counts": {"ok": 90, "limited": 5, "hit": 60, "joined": 7, "stampedes": 4, "origin_refused": 1, "new": 8},
}


async def test_a_look_is_of_the_queues_of_sync_and_of_the_adapter() -> None:
    answers: dict[str, Any] = {
        "queue_health": health().model_dump(mode="json"),
        "sync_health": SYNC,
        "adapter_health": ADAPTER,
    }

    class Scripted:
        async def call(self, name: str, /, **params: Any) -> Any:
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

    seen = (await RpcVitals(Scripted()).look()).sync
    assert seen is not None
    assert (seen.clients, seen.lag_seconds.buckets) == (5, [(0, 1), (60, 4)])
    for fault in (SYNC | {"lag_seconds": None}, Unreachable("away"), Busy("it took too long")):
        answers["sync_health"] = fault
        answers["adapter_health"] = fault
        with capture_logs() as logs:
            seen_alone = await RpcVitals(Scripted()).look()
        assert seen_alone == health(), "the queues are seen all the same"
        assert [line["event"] for line in logs] == ["vitals.sync_unseen", "vitals.adapter_unseen"]
    answers["queue_health"] = Unreachable("away")
    with pytest.raises(Unreachable):
        await RpcVitals(Scripted()).look()


async def test_the_look_asks_with_dispatchs_latest_mark_and_parses_strictly() -> None:
    asked: list[dict[str, Any]] = []

    class Scripted:
        async def call(self, name: str, /, **params: Any) -> Any:
            asked.append({"name": name, **params})
            return {"tables": "none"}

    mark = DeliveryMark()
    door = RpcVitals(Scripted(), mark)
    with pytest.raises(BadAnswer):
        await door.look()
    mark.outbox = "77"
    with pytest.raises(BadAnswer):
        await door.look()
    assert asked == [{"name": "queue_health", "p_mark": mark} for mark in ("0", "77")]


async def test_the_adapter_is_shown(vitals: Vitals, door: Door, clock: ManualClock, metrics: Metrics) -> None:
    door.seen = health(adapter=ADAPTER)
    await clock.advance(18)
    assert series(metrics, "pms_inbound_rejected") == {"": 2}
    assert series(metrics, "pms_inbound_oldest_seconds") == {"": 4.5}
    assert series(metrics, "pms_cache_waiting") == {"": 2}
    assert series(metrics, "pms_cache_lag_seconds") == {"": 7.5}
    assert series(metrics, "pms_api_instances") == {'{cache="redis"}': 3, '{cache="none"}': 1}
    ended = series(metrics, "pms_api_requests_total")
    assert ended == {f'{{outcome="{name}"}}': 0 for name in ("invalid", "refused", "busy", "failed")} | {
        '{outcome="ok"}': 90,
        '{outcome="limited"}': 5,
    }
    reads = series(metrics, "pms_cache_reads_total")
    assert reads == {f'{{outcome="{name}"}}': 0 for name in ("miss", "stale", "bypass")} | {
        '{outcome="hit"}': 60,
        '{outcome="joined"}': 7,
    }
    assert series(metrics, "pms_cache_stampedes_total") == {"": 4}
    assert series(metrics, "pms_cache_early_renewals_total") == {"": 0}
    assert series(metrics, "pms_origin_refused_total") == {"": 1}
    door.seen = health()
    await clock.advance(18)
    assert b"pms_cache_reads" not in metrics.render(), "an old value would look like a good one"
