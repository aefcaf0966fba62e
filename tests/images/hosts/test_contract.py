"""What both hosts promise: the same suite over the disk, Cloudinary's double, and Cloudinary itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from tests.images.hosts.pictures import png, public_id, renditions
from tests.images.hosts.worlds import World
from worker.errors import HostRefused


async def test_what_is_stored_can_be_fetched(world: World, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot", names=("master", "thumbnail", "card", "zoom"))
    urls = await world.host.store(public_id("a boot"), made)
    assert set(urls) == {"master", "thumbnail", "card", "zoom"}
    for name, url in urls.items():
        answer = await world.get(url)
        assert answer.status_code == 200, url
        assert answer.headers["content-type"].startswith("image/")
        if world.exact:
            assert answer.content == png(f"a boot {'master' if world.host.derives else name}")


async def test_storing_twice_is_one_object_that_stays_as_it_was(world: World, tmp_path: Path) -> None:
    name = public_id("a boot")
    first = await world.host.store(name, renditions(tmp_path, "a boot"))
    before = (await world.get(first["master"])).content
    # an encoder of another version makes other bytes of the same source
    again = await world.host.store(name, renditions(tmp_path, "a boot, encoded anew"))
    assert again == first
    assert await world.everything(page=10) == [name]
    assert (await world.get(again["master"])).content == before


async def test_twins_at_once_are_one_object(world: World, tmp_path: Path) -> None:
    name = public_id("a boot")
    made = renditions(tmp_path, "a boot")
    answers = await asyncio.gather(*(world.host.store(name, made) for _ in range(5)))
    assert all(each == answers[0] for each in answers)
    assert await world.everything(page=10) == [name]
    assert (await world.get(answers[0]["master"])).status_code == 200


async def test_deleting_removes_and_may_be_repeated(world: World, tmp_path: Path) -> None:
    name, other = public_id("a boot"), public_id("a mug")
    urls = await world.host.store(name, renditions(tmp_path, "a boot"))
    kept = await world.host.store(other, renditions(tmp_path, "a mug"))
    for _ in range(2):
        await world.host.delete(name)
    assert await world.everything(page=10) == [other]
    assert (await world.get(kept["master"])).status_code == 200
    if world.exact:  # a CDN takes its time
        assert (await world.get(urls["master"])).status_code == 404


async def test_deleting_what_never_was_is_nothing(world: World) -> None:
    await world.host.delete(public_id("nothing"))
    assert await world.everything(page=10) == []


async def test_deleted_it_can_come_back(world: World, tmp_path: Path) -> None:
    name = public_id("a boot")
    await world.host.store(name, renditions(tmp_path, "a boot"))
    await world.host.delete(name)
    urls = await world.host.store(name, renditions(tmp_path, "a boot"))
    assert await world.everything(page=10) == [name]
    assert (await world.get(urls["master"])).status_code == 200


@pytest.mark.parametrize("page", [1, 3, 500])
async def test_the_listing_tells_each_object_once(world: World, tmp_path: Path, page: int) -> None:
    tenants = [str(uuid4()) for _ in range(3)]
    names = [public_id(f"{n}", tenant=tenant) for tenant in tenants for n in range(3)]
    for name in names:
        await world.host.store(name, renditions(tmp_path, name))
    assert sorted(await world.everything(page=page)) == sorted(names)


async def test_what_stays_is_listed_although_others_come_and_go(world: World, tmp_path: Path) -> None:
    names = sorted(public_id(f"{n}") for n in range(6))
    for name in names:
        await world.host.store(name, renditions(tmp_path, name))
    first = await world.host.listing(None, 2)
    await world.host.delete(first.public_ids[-1])
    found, after = list(first.public_ids), first.after
    while after is not None:
        page = await world.host.listing(after, 2)
        found, after = found + list(page.public_ids), page.after
    assert sorted(found) == names


_HOSTILE = [
    "",
    "/",
    "..",
    "../../etc/passwd",
    f"{uuid4()}/../../{'a' * 64}",
    f"{uuid4()}/{'a' * 64}/..",
    f"{uuid4()}/{'a' * 64}\n",
    f"{uuid4()}/{'A' * 64}",
    f"{uuid4()}/{'a' * 63}",
    f"{uuid4()}/{'٣' * 64}",
    f"/{uuid4()}/{'a' * 64}",
    f"{uuid4()}/{'a' * 64}?version=1",
    f"{uuid4()}%2f{'a' * 64}",
    f"{uuid4()}/{'a' * 63}\0",
    ".work/left",
    "https://example.com/a.png",
    "a" * 100_000,
]


@pytest.mark.parametrize("hostile", _HOSTILE, ids=range(len(_HOSTILE)))
async def test_no_other_text_is_an_id(world: World, tmp_path: Path, hostile: str) -> None:
    made = renditions(tmp_path, "a boot")
    there = _below(tmp_path)
    with pytest.raises(HostRefused, match=r"image\.bad_public_id"):
        await world.host.store(hostile, made)
    with pytest.raises(HostRefused, match=r"image\.bad_public_id"):
        await world.host.delete(hostile)
    assert await world.everything(page=10) == []
    assert _below(tmp_path) == there


async def test_a_master_is_needed(world: World, tmp_path: Path) -> None:
    thumbnail = renditions(tmp_path, "a boot", names=("thumbnail",))
    with pytest.raises(HostRefused, match=r"image\.bad_rendition"):
        await world.host.store(public_id("a boot"), thumbnail)
    assert await world.everything(page=10) == []


def _below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())
