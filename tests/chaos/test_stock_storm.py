"""The storm at the stock, in short; and what the naive reservation does in it."""

from __future__ import annotations

import pytest

from tests.chaos.stock_storm import stock_storm
from tests.flow.scene import scene
from tests.sql.oversell import read_check_write

pytestmark = pytest.mark.own_platform


async def test_a_storm_with_a_crash_oversells_nothing_and_loses_nothing() -> None:
    async with scene(durable=True) as played:
        report = await stock_storm(played, attempts=1000, buyers=64, stock=40)
    assert not report.all_faults, report.line()
    facts = report.facts
    assert (facts["oversold"], facts["lost_reservations"], facts["deadlocks"]) == (0, 0, 0)
    for happened in ("kept", "sold_out", "expired", "interruptions"):
        assert int(facts[happened]) > 0, f"the storm was none: {report.line()}"


async def test_the_naive_reservation_oversells_in_the_same_storm() -> None:
    async with scene() as played:
        report = await stock_storm(
            played, attempts=300, buyers=48, stock=5, crash=False, prepare=read_check_write
        )
    assert int(report.facts["oversold"]) > 0, report.line()
    assert report.all_faults
