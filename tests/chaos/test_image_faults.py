"""The storm of pictures in its short form."""

from __future__ import annotations

import pytest

from tests.chaos.images_storm import images_storm
from tests.flow.scene import scene

pytestmark = [pytest.mark.own_platform, pytest.mark.timeout(300)]


async def test_bad_servers_a_bad_host_and_a_kill() -> None:
    async with scene() as played:
        report = await images_storm(played, images=60, kills=1, every=5.0)
    assert not report.all_faults
    assert int(report.facts["ready"]) > 40
    assert int(report.facts["host_faults"]) > 3
