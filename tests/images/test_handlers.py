"""The jobs of pictures: done, delivered twice, overtaken, and in trouble of every kind."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.engine.clock import START, ManualClock
from worker.engine.job import AttemptId, Done, Job, JobId, Outcome, Retry, Snooze
from worker.errors import HostFailing, HostUnreachable
from worker.gateway.images import Asset, Ending, ImagesSwept, ImageTask
from worker.images.gate import HostGate
from worker.images.handlers import ImagePayload, ProcessImage
from worker.images.hosts import HostPage
from worker.images.housekeeping import AuditHost, DeleteFiles, NoPayload, SweepImages, SweepPayload
from worker.images.picture import Picture, Rendition, Unfit, WorkshopLost
from worker.images.source import SourceAway, SourceRefused

IMAGE = "00000000-0000-4000-8000-000000000001"
TASK = ImageTask(tenant_id="t", revision=1, source_url="https://e.example/a", upload_path=None)
NAME = "t/" + "0" * 64


def job(payload: Any, kind: str = "images.process", attempt: int = 1) -> Job[Any]:
    return Job(JobId(1), AttemptId("a"), kind, "t", payload, attempt, 20, START)


class World:
    """The outside doors of the slice, as a story: `told` is what happened, in order."""

    name = "local"

    def __init__(self, *, derives: bool = False) -> None:
        self.derives = derives
        self.told: list[str] = []
        self.errors: list[Mapping[str, Any]] = []
        self.task: ImageTask | None = TASK
        self.asset: Asset | None = Asset(asset_id="x", public_id=NAME)
        self.current = True
        self.faults: dict[str, Exception] = {}
        self.scratch: Path | None = None
        self.doomed_files: dict[str, list[str]] = {"local": [], "upload": []}

    def _say(self, what: str) -> None:
        self.told.append(what)
        if (fault := self.faults.get(what.split(" ", 1)[0])) is not None:
            raise fault

    async def begin(self, image_id: str, revision: int) -> ImageTask | None:
        self._say("begin")
        assert revision == 1
        return self.task

    async def fetched(self, image_id: str, revision: int) -> bool:
        self._say("fetched")
        return self.current

    async def troubled(self, image_id: str, revision: int, error: Mapping[str, Any]) -> bool:
        self._say("troubled")
        self.errors.append(error)
        return self.current

    async def fail(self, image_id: str, revision: int, ending: Ending, error: Mapping[str, Any]) -> bool:
        self._say(f"fail {ending}")
        self.errors.append(error)
        return self.current

    async def begin_asset(
        self, image_id: str, revision: int, *, host: str, picture: Mapping[str, Any]
    ) -> Asset | None:
        self._say("begin_asset")
        assert picture["served_bytes"] == 30
        assert (picture["width"], picture["height"]) == (20, 10), "of what is served"
        return self.asset

    async def finish(
        self, image_id: str, revision: int, asset_id: str, urls: Mapping[str, str] | None
    ) -> bool:
        self._say(f"finish {'new' if urls else 'known'}")
        return self.current

    async def fetch(self, task: ImageTask, into: Path) -> int:
        self.scratch = into.parent
        into.write_bytes(b"picture")  # noqa: ASYNC240
        self._say("fetch")
        return 7

    async def work(self, source: Path, into: Path, *, derivatives: bool) -> Picture:
        assert source.read_bytes() == b"picture"  # noqa: ASYNC240
        self._say("work with derivatives" if derivatives else "work")
        made = [Rendition(name, "webp", 20, 10, into / name, 15) for name in ("master", "card")]
        return Picture(
            sha256="0" * 64,
            format="jpeg",
            source_bytes=7,
            width=40,
            height=20,
            orientation=1,
            animated=False,
            has_alpha=False,
            color_space="rgb",
            had_gps=True,
            had_metadata=True,
            appended="",
            dominant_colors=["#123456"],
            blurhash="L0",
            perceptual_hash="0" * 16,
            renditions=made,
        )

    async def store(self, public_id: str, renditions: Sequence[Rendition]) -> Mapping[str, str]:
        self._say("store")
        return {"master": "https://e.example/m"}

    async def delete(self, public_id: str) -> None:
        self._say(f"delete {public_id}")

    async def remove(self, path: str) -> None:
        self._say(f"remove {path}")

    async def listing(self, after: str | None, limit: int) -> HostPage:
        page = int(after or 0)
        return HostPage([f"t/{page}"], str(page + 1) if page < 2 else None)

    async def sweep(self, *, keep: timedelta, limit: int) -> ImagesSwept:
        return ImagesSwept(versions=0, products=0, assets=limit, uploads=0, stuck=0, more=limit == 1)

    async def doomed(self, host: str, *, limit: int, lease: timedelta) -> Sequence[str]:
        return self.doomed_files[host][:limit]

    async def gone(self, host: str, public_ids: Sequence[str]) -> None:
        self.told.append(f"gone {host} {sorted(public_ids)}")

    async def judge(self, host: str, public_ids: Sequence[str]) -> int:
        self._say(f"judge {','.join(public_ids)}")
        return 1


@pytest.fixture
def world() -> World:
    return World()


async def processed(world: World, *, attempt: int = 1, gate: HostGate | None = None) -> Outcome:
    handler = ProcessImage(
        world, world, world, world, gate or HostGate(ManualClock()), chance=random.Random(1)
    )
    return await handler(
        job(ImagePayload.model_validate({"image_id": IMAGE, "revision": 1}), attempt=attempt)
    )


STEPS = ["begin", "fetch", "fetched", "work with derivatives", "begin_asset", "store", "finish new"]


async def test_a_picture_goes_through_and_leaves_nothing_behind(world: World) -> None:
    assert await processed(world) == Done()
    assert world.told == STEPS
    assert world.scratch is not None
    assert not world.scratch.exists()


async def test_a_host_that_derives_gets_the_master_alone() -> None:
    world = World(derives=True)
    await processed(world)
    assert "work" in world.told


async def test_what_the_host_has_is_not_stored_again(world: World) -> None:
    world.asset = Asset(asset_id="x", public_id=NAME, stored=True)
    assert await processed(world) == Done()
    assert world.told[-2:] == ["begin_asset", "finish known"]


async def test_delivered_twice_there_is_nothing_to_do(world: World) -> None:
    world.task = None
    assert await processed(world) == Done()
    assert world.told == ["begin"]


async def test_it_stops_where_it_is_overtaken(world: World) -> None:
    world.current = False
    assert await processed(world) == Done()
    assert world.told[-1] == "fetched"
    world.current, world.asset = True, None
    assert await processed(world) == Done()
    assert world.told[-1] == "begin_asset"


async def test_it_waits_for_a_file_that_is_being_deleted(world: World) -> None:
    world.asset = Asset(busy=True)
    assert isinstance(await processed(world), Snooze)
    assert "store" not in world.told


@pytest.mark.parametrize(
    ("where", "error", "attempt", "outcome", "said"),
    [
        ("fetch", SourceRefused("image.source_refused", "404."), 1, Done, "fail failed"),
        ("fetch", SourceAway("image.source_slow", "Slow."), 1, Retry, "troubled"),
        ("fetch", SourceAway("image.source_slow", "Slow."), 20, Done, "fail failed"),
        ("fetch", OSError(errno.ENOSPC, "No space left on device"), 500, Snooze, "troubled"),
        ("work", Unfit("image.bomb", "A bomb."), 1, Done, "fail quarantined"),
        ("work", WorkshopLost("crash", "it died"), 1, Retry, "troubled"),
        ("work", WorkshopLost("crash", "it died"), 9, Retry, "troubled"),
        ("store", HostFailing("500"), 1, Retry, "troubled"),
        ("store", HostUnreachable("reset"), 1, Snooze, "troubled"),
    ],
)
async def test_trouble_ends_it_or_brings_it_back(
    world: World, where: str, error: Exception, attempt: int, outcome: type, said: str
) -> None:
    world.faults[where] = error
    assert isinstance(await processed(world, attempt=attempt), outcome)
    assert world.told[-1] == said
    assert world.scratch is not None
    assert not world.scratch.exists()


async def test_a_third_crash_in_a_row_ends_it(world: World) -> None:
    world.faults["work"] = WorkshopLost("crash", "it died")
    for crashes in range(3):
        world.task = TASK.model_copy(update={"crashes": crashes})
        await processed(world)
    assert [error.get("crashes") for error in world.errors] == [1, 2, 3]
    assert world.told[-1] == "fail quarantined"


async def test_it_waits_as_long_as_the_source_says(world: World) -> None:
    world.faults["fetch"] = SourceAway("image.source_unavailable", "503.", timedelta(hours=1))
    outcome = await processed(world)
    assert isinstance(outcome, Retry)
    assert outcome.after >= timedelta(hours=1)


async def test_while_the_host_is_away_nothing_is_fetched(world: World) -> None:
    clock = ManualClock()
    gate = HostGate(clock)
    world.faults["store"] = HostUnreachable("reset")
    await processed(world, gate=gate)
    gate.shut(timedelta(minutes=1))
    world.told.clear()
    waiting = asyncio.create_task(processed(world, gate=gate))
    await clock.advance(20)
    assert isinstance(await waiting, Snooze)
    assert world.told == []
    world.faults.clear()
    await clock.advance(60)
    assert await processed(world, gate=gate) == Done()


async def test_a_fault_of_ours_is_the_engines_to_judge(world: World) -> None:
    world.faults["finish"] = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        await processed(world)


async def test_doomed_files_are_deleted_and_those_that_stay_are_not_said_to_be_gone(world: World) -> None:
    world.doomed_files = {"local": ["t/a", "t/b"], "upload": ["t/u"]}
    world.faults["remove"] = HostUnreachable("reset")
    handler = DeleteFiles(world, world, world, ManualClock())
    assert await handler(job(NoPayload(), DeleteFiles.kind)) == Done()
    assert "gone local ['t/a', 't/b']" in world.told
    assert not any(line.startswith("gone upload") for line in world.told)


async def test_no_file_is_deleted_when_its_lease_may_be_over(world: World) -> None:
    clock = ManualClock()
    world.doomed_files["local"] = [f"t/{n}" for n in range(9)]
    deleted: list[str] = []

    async def slow(public_id: str) -> None:
        deleted.append(public_id)
        await clock.advance(241)

    world.delete = slow  # type: ignore[method-assign]
    await DeleteFiles(world, world, world, clock)(job(NoPayload(), DeleteFiles.kind))
    assert 1 <= len(deleted) <= 4, "what was begun by then, and no other"


async def test_a_full_batch_may_have_others_behind_it(world: World) -> None:
    world.doomed_files["upload"] = [f"t/{n}" for n in range(100)]
    handler = DeleteFiles(world, world, world, ManualClock())
    assert isinstance(await handler(job(NoPayload(), DeleteFiles.kind)), Snooze)


async def test_an_audit_looks_at_everything(world: World) -> None:
    assert await AuditHost(world, world)(job(NoPayload(), AuditHost.kind)) == Done()
    assert world.told == ["judge t/0", "judge t/1", "judge t/2"]


async def test_a_sweep_comes_back_for_more(world: World) -> None:
    sweep = SweepImages(world)
    assert isinstance(await sweep(job(SweepPayload(limit=1), SweepImages.kind)), Snooze)
    assert await sweep(job(SweepPayload(limit=2), SweepImages.kind)) == Done()
