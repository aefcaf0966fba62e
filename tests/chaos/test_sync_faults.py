"""The fault cases of sync in their short forms."""

from __future__ import annotations

import pytest

from tests.chaos.sync_holes import sync_holes
from tests.chaos.sync_storm import sync_storm
from tests.flow.scene import scene

pytestmark = [
    pytest.mark.own_platform,
    pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning"),
]


async def test_holes_cut_tails_and_lost_bells_are_found() -> None:
    async with scene() as played:
        report = await sync_holes(played, rounds=1, bound=20)
    assert not report.all_faults, report.line()
    assert report.facts["snapshots"] == 3, "the first, and one for each hole"


async def test_a_storm_loses_nothing_and_does_nothing_twice() -> None:
    async with scene() as played:
        report = await sync_storm(played, changes=900, pushed=300, kills=3, drops=2, longest=12, slow=3)
    assert not report.all_faults, report.line()
    assert report.judgement.events == report.judgement.received >= 900
    assert report.judgement.duplicates == 0
