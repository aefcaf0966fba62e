"""The disk's own faults: kills in the middle, no room, no right, twins of all kinds."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images.hosts.pictures import png, public_id, renditions
from worker.errors import HostFailing, HostRefused, HostUnconfigured
from worker.images.hosts.local import LocalHost
from worker.images.picture import Rendition

NAME = public_id("a boot")
ALL = ("master", "thumbnail", "card", "zoom")


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return tmp_path / "held"


@pytest.fixture
def host(held: Path) -> LocalHost:
    return LocalHost(held, base_url="http://images.example/images/")


def _files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_urls_name_each_rendition_and_the_first_format(host: LocalHost, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot", names=("master", "card"))
    also = Rendition("card", "webp", 8, 8, made[1].path, made[1].bytes)
    assert await host.store(NAME, [*made, also]) == {
        "master": f"http://images.example/images/{NAME}/master.png",
        "card": f"http://images.example/images/{NAME}/card.png",
    }


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from worker.images.hosts import local
from worker.images.picture import Rendition

held, source, name, after = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
calls = 0
def die(*_):
    global calls
    calls += 1
    if calls > after:
        os.kill(os.getpid(), signal.SIGKILL)
def dying(real):
    def call(*a, **k):
        die()
        return real(*a, **k)
    return call
os.fsync = dying(os.fsync)
Path.hardlink_to = dying(Path.hardlink_to)
local.shutil.copyfileobj = dying(local.shutil.copyfileobj)
made = [Rendition(n, "png", 8, 8, source, 1) for n in ("master", "thumbnail", "card", "zoom")]
asyncio.run(local.LocalHost(held, base_url="http://x").store(name, made))
"""


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 11, 12, 14])
def test_killed_at_any_step_no_file_is_half_there(held: Path, tmp_path: Path, after: int) -> None:
    (made,) = renditions(tmp_path, "a boot")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(held), str(made.path), NAME, str(after)], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    for path in (held / NAME).glob("*"):
        assert path.read_bytes() == made.path.read_bytes()


_KILLED_DELETING = """
import asyncio, os, signal, sys
from pathlib import Path
from worker.images.hosts.local import LocalHost

held, name, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0
def dying(real):
    def call(*a, **k):
        global calls
        calls += 1
        if calls > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*a, **k)
    return call
os.rename = dying(os.rename)
os.unlink = dying(os.unlink)
os.rmdir = dying(os.rmdir)
asyncio.run(LocalHost(held, base_url="http://x").delete(name))
"""


@pytest.mark.parametrize("after", range(6))
async def test_killed_while_deleting_it_is_whole_or_gone(
    host: LocalHost, held: Path, tmp_path: Path, after: int
) -> None:
    await host.store(NAME, renditions(tmp_path, "a boot", names=ALL))
    command = [sys.executable, "-c", _KILLED_DELETING, str(held), NAME, str(after)]
    killed = await asyncio.to_thread(subprocess.run, command, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    there = len([each for each in _files(held) if not each.startswith(".work")])
    assert there == (4 if after == 0 else 0)
    assert len((await host.listing(None, 10)).public_ids) == there // 4
    await host.delete(NAME)
    assert (await host.listing(None, 10)).public_ids == []


async def test_the_first_of_two_different_twins_stays(
    host: LocalHost, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = renditions(tmp_path, "quick"), renditions(tmp_path, "slow")
    real = shutil.copyfileobj

    def overtaken(reading: Any, writing: Any, length: int) -> None:
        real(reading, writing, length)
        monkeypatch.undo()
        host._store(NAME, first)

    monkeypatch.setattr("worker.images.hosts.local.shutil.copyfileobj", overtaken)
    await host.store(NAME, second)
    assert (held / NAME / "master.png").read_bytes() == png("quick master")


async def test_what_a_kill_left_is_completed_and_swept(host: LocalHost, held: Path, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot", names=ALL)
    (held / NAME).mkdir(parents=True)
    shutil.copy(made[0].path, held / NAME / "master.png")
    left, new = held / ".work" / "left", held / ".work" / "new"
    for directory in (left, new):
        directory.mkdir(parents=True)
        (directory / "half.png").write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    await host.store(NAME, made)
    assert [*(await host.listing(None, 10)).public_ids] == [NAME]
    assert _files(held) == [".work/new/half.png", *(f"{NAME}/{each}.png" for each in sorted(ALL))]


async def test_storing_leaves_nothing_but_the_object(host: LocalHost, held: Path, tmp_path: Path) -> None:
    await host.store(NAME, renditions(tmp_path, "a boot"))
    await host.store(NAME, renditions(tmp_path, "a boot"))
    assert _files(held) == [f"{NAME}/master.png"]
    await host.delete(NAME)
    assert _files(held) == []
    assert not (held / NAME).parent.exists(), "nor does an empty tenant stay"


async def test_storing_and_deleting_at_once_ends_whole_or_gone(
    host: LocalHost, held: Path, tmp_path: Path
) -> None:
    made = renditions(tmp_path, "a boot", names=ALL)
    for _ in range(20):
        await asyncio.gather(
            *(host.store(NAME, made) for _ in range(3)), *(host.delete(NAME) for _ in range(3))
        )
        there = [each for each in _files(held) if not each.startswith(".work")]
        assert there in ([], [f"{NAME}/{each}.png" for each in sorted(ALL)])
        await host.delete(NAME)


async def test_a_directory_that_goes_while_it_is_made_is_made_again(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path.mkdir` finds it, then looks whether it is a directory, and says that a file is there."""
    (made,) = renditions(tmp_path, "a boot")
    real = Path.mkdir

    def overtaken(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == NAME.partition("/")[2]:
            monkeypatch.undo()
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        real(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    await host.store(NAME, [made])
    assert (await host.listing(None, 10)).public_ids == [NAME]


async def test_a_file_in_the_place_of_an_object_is_told(host: LocalHost, held: Path, tmp_path: Path) -> None:
    (held / NAME).parent.mkdir(parents=True)
    (held / NAME).write_bytes(b"")
    with pytest.raises(HostUnconfigured, match=r"WORKER_IMAGE_DIR .*Not a directory"):
        await host.store(NAME, renditions(tmp_path, "a boot"))


async def test_two_processes_share_a_directory(held: Path, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot", names=ALL)
    one, other = (LocalHost(held, base_url="http://x") for _ in range(2))
    await asyncio.gather(*(each.store(NAME, made) for each in (one, other) for _ in range(4)))
    assert _files(held) == [f"{NAME}/{each}.png" for each in sorted(ALL)]
    assert (held / NAME / "zoom.png").read_bytes() == png("a boot zoom")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, HostUnconfigured),
        (errno.EDQUOT, HostUnconfigured),
        (errno.EROFS, HostUnconfigured),
        (errno.EACCES, HostUnconfigured),
        (errno.EIO, HostFailing),
        (errno.EMFILE, HostFailing),
    ],
)
async def test_the_disks_faults_are_told_by_their_meaning(
    host: LocalHost,
    held: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    made = renditions(tmp_path, "a boot", names=ALL)
    monkeypatch.setattr("worker.images.hosts.local.shutil.copyfileobj", broken)
    with pytest.raises(kind, match=os.strerror(code)) as told:
        await host.store(NAME, made)
    assert type(told.value) is kind
    assert _files(held) == [], "and nothing is left behind"
    monkeypatch.undo()
    await host.store(NAME, made)
    assert len(_files(held)) == len(ALL)


async def test_a_rendition_of_another_name_is_refused(host: LocalHost, held: Path, tmp_path: Path) -> None:
    (made,) = renditions(tmp_path, "a boot")
    for name, kind in (("../../escape", "png"), ("card", "svg"), ("card", "png/../../x"), ("other", "png")):
        with pytest.raises(HostRefused, match=r"image\.bad_rendition"):
            await host.store(NAME, [made, Rendition(name, kind, 8, 8, made.path, 1)])
    assert _names(held.parent) == [made.path.name]


async def test_what_does_not_belong_there_is_left_alone(host: LocalHost, held: Path, tmp_path: Path) -> None:
    tenant, _, sha256 = NAME.partition("/")
    for directory in ("lost+found", f"{tenant}/not-a-hash", f"not-a-tenant/{sha256}"):
        (held / directory).mkdir(parents=True)
    (held / tenant / "notes.txt").write_text("mine")
    (held / public_id("a link").partition("/")[0]).symlink_to(tmp_path, target_is_directory=True)
    assert (await host.listing(None, 10)).public_ids == []
    await host.store(NAME, renditions(tmp_path, "a boot"))
    await host.delete(NAME)
    assert (held / tenant / "notes.txt").exists()


async def test_probing_leaves_no_trace(tmp_path: Path) -> None:
    await LocalHost(tmp_path / "held" / "images", base_url="http://x").probe()
    assert _names(tmp_path) == [], "not even the directory, which another user may have to make"
    await LocalHost(tmp_path, base_url="http://x").probe()
    assert _names(tmp_path) == []


async def test_probing_a_place_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(HostUnconfigured, match="WORKER_IMAGE_DIR"):
        await LocalHost(file / "images", base_url="http://x").probe()


# -- what a simpler way would do -----------------------------------------------------------------------------


def _copied_in_place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        for byte in iter(lambda: reading.read(16), b""):
            writing.write(byte)
            writing.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _in_a_process(work: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    child = os.fork()
    if child == 0:
        work(source, target)
        os._exit(0)
    os.waitpid(child, 0)


def test_copied_in_place_a_kill_leaves_half_a_picture(held: Path, tmp_path: Path) -> None:
    (made,) = renditions(tmp_path, "a boot")
    _in_a_process(_copied_in_place, made.path, held / NAME / "master.png")
    half = (held / NAME / "master.png").read_bytes()
    assert half != made.path.read_bytes()
    assert made.path.read_bytes().startswith(half)
