"""The fault cases of webhook delivery in their short forms, and that their judges see what they look for.

`endpoint_down` has none: a parked lane is probed every 30 s, so the shortest run takes more than a minute.
`make chaos CHAOS=endpoint_down` plays it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.outlets import open_outlets
from tests.bench.sink_process import Arrival, SinkProcess
from tests.chaos.deliveries_storm import deliveries_storm
from tests.chaos.endpoint_down import busiest_second
from tests.chaos.hanging_endpoints import hanging_endpoints
from tests.chaos.tally import tally
from tests.chaos.xmin_held import xmin_held
from tests.flow.ledger import Incident, delivered
from tests.flow.scene import scene
from tests.flow.writers import burst


@pytest.mark.own_platform
async def test_a_storm_of_kills_and_a_crash_loses_no_delivery() -> None:
    async with scene(durable=True) as played:
        report = await deliveries_storm(played, deliveries=20_000, every=0.5, away=2.0)
    assert not report.all_faults, report.line()
    assert report.judgement.received == report.judgement.events >= 20_000
    assert int(report.facts["kills"]) >= 1


@pytest.mark.own_platform
async def test_endpoints_that_hang_do_not_hold_up_the_others() -> None:
    """Without a fair share of the slots the others would wait until those that hang are let go."""
    async with scene() as played:
        # so few samples on a shared machine tell a standstill, not a tenth
        report = await hanging_endpoints(played, per_second=100, seconds=3, rounds=1, growth=3.0)
    assert not report.all_faults, report.line()


@pytest.mark.own_platform
async def test_a_session_that_holds_xmin_does_not_hold_up_deliveries() -> None:
    async with scene() as played:
        report = await xmin_held(played, minutes=2, per_second=100, minute=4)
    assert not report.all_faults, report.line()
    assert int(report.facts["dead_in_private.outbox"]) > 0, "nothing was held"


@pytest.mark.own_platform
async def test_the_tally_sees_what_is_lost_twice_and_altered() -> None:
    async with scene() as played, SinkProcess(played.platform) as sink:
        db_url = played.platform.db_url
        outlets = await open_outlets(played, sink, products=5, endpoints=2)
        commits = await burst(db_url, outlets.products, rounds=1)
        async with played.worker():
            await sink.until(10, 30)
            await delivered(db_url, 30)
        arrivals = await sink.arrivals()
        await sink.verify_last(outlets.secrets[arrivals[-1].path])
        last = arrivals[-1]

        async def judged(came: list[Arrival], *incidents: Incident) -> tuple[int, int, int, list[str]]:
            result = await tally(
                db_url, outlets, sink.url, commits=commits, arrivals=came, incidents=incidents
            )
            judgement = result.judgement
            faults = [fault.partition(":")[0] for fault in judgement.faults]
            return judgement.received, judgement.duplicates, judgement.explained, faults

        again, altered = replace(last, at=last.at + 60), replace(last, at=last.at + 60, checksum=1)
        while_in_flight = Incident("kill", last.at, last.at)
        assert await judged(arrivals) == (10, 0, 0, [])
        assert await judged(arrivals[:-1]) == (9, 0, 0, ["owed but not received"])
        assert await judged([*arrivals, again]) == (10, 1, 0, ["duplicates that nothing explains"])
        assert await judged([*arrivals, again], while_in_flight) == (10, 1, 1, [])
        assert await judged([*arrivals, altered], while_in_flight) == (
            10, 1, 1, ["altered between two arrivals"],
        )  # fmt: skip


def test_the_busiest_second_is_found_wherever_it_begins() -> None:
    times = [0.0, 0.9, 1.2, 1.8, 1.89, 3.0]
    assert busiest_second([Arrival("/", str(n), at, 0) for n, at in enumerate(times)]) == 4
    assert busiest_second([]) == 0
