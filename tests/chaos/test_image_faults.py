"""The storm of pictures in its short form, and that it sees what it looks for."""

from __future__ import annotations

import pytest

from tests.bench.connections import Connection
from tests.chaos.images_storm import images_storm
from tests.flow.scene import scene
from tests.images.hosts.cloudinary_double import CloudinaryDouble, Stored

pytestmark = [pytest.mark.own_platform, pytest.mark.timeout(300)]


async def test_bad_servers_a_bad_host_and_a_kill() -> None:
    async with scene() as played:
        report = await images_storm(played, images=60, kills=1, every=5.0)
    assert not report.all_faults
    assert int(report.facts["ready"]) > 40
    assert int(report.facts["host_faults"]) > 3


async def test_orphans_doubles_and_untrue_rows_are_seen() -> None:
    async def sabotage(double: CloudinaryDouble, db: Connection) -> None:
        [first, *_] = double.objects.values()
        double.objects["nobody/knows"] = Stored(b"orphan", 1, "orphan")
        double.objects["the/same"] = first
        await db.execute(
            "update public.product_images set status = 'failed',"
            ' error = \'{"code": "image.x", "detail": ""}\''
            " where id = (select id from public.product_images where status = 'ready' limit 1)"
        )

    async with scene() as played:
        report = await images_storm(played, images=12, kills=0, sabotage=sabotage)
    seen = "\n".join(report.all_faults)
    assert "orphan at the host: nobody/knows" in seen
    assert "stored 2 times" in seen
    assert "failed image.x" in seen
