"""The storm at the edge adapter's cache, in short; and what naive caches do in it."""

from __future__ import annotations

import pytest

from tests.chaos.edge_cache import NAIVE, edge_cache
from tests.flow.scene import scene
from tests.stack.redis import NO_REDIS, binary

pytestmark = [pytest.mark.own_platform, pytest.mark.skipif(binary() is None, reason=NO_REDIS)]


async def test_no_read_is_too_old_or_of_another_tenant_and_no_kill_is_an_error() -> None:
    async with scene(with_functions=True) as played:
        report = await edge_cache(played, operations=800, readers=300, every=3.0)
    assert not report.all_faults, report.line()
    facts = report.facts
    for happened in (
        "from_hit",
        "from_miss",
        "from_bypass",
        "redis_killed",
        "worker_killed",
        "refused_rightly",
    ):
        assert int(facts[happened]) > 0, f"the storm was none: {report.line()}"


async def test_a_cache_that_goes_by_time_alone_is_found_out() -> None:
    async with scene(with_functions=True) as played:
        report = await edge_cache(played, operations=800, readers=20, every=None, writing=15, adapter=NAIVE)
    assert int(report.facts["too_old"]) > 0, report.line()
    assert report.all_faults


async def test_adapters_that_share_no_cache_read_a_cold_key_more_than_once() -> None:
    async with scene(with_functions=True) as played:
        report = await edge_cache(played, operations=20, readers=200, every=None, adapter={"REDIS_URL": ""})
    assert int(report.facts["origin_reads_of_a_cold_key"]) > 1, report.line()
