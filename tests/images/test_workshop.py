"""The processes that look at pictures: what a crash costs, what they may take, that none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.images.conftest import Develop
from tests.images.samples import encode, photograph
from worker.images.limits import MIB, Limits
from worker.images.picture import Picture, WorkshopLost
from worker.images.room import NoRoom
from worker.images.workshop import Workshop


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(encode(photograph(600, 400), "jpeg"))
    return path


@pytest.fixture(scope="module")
def large() -> bytes:
    """Takes seconds with its derivatives."""
    return encode(photograph(875, 875).resize(4), "png", compression=1)


@pytest.fixture
def slow(tmp_path: Path, large: bytes) -> Path:
    path = tmp_path / "slow"
    path.write_bytes(large)
    return path


def gone(pid: int) -> bool:
    """Ended, also when nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_busy(pid: int) -> Callable[[], bool]:
    """Whether it has used a tenth of a second of CPU since now, so that it is in the midst of a picture."""
    before = cpu_seconds(pid)
    return lambda: cpu_seconds(pid) > before + 0.1


async def in_work(workshop: Workshop, source: Path, slow: Path) -> tuple[asyncio.Task[Picture], int]:
    """A picture that is being worked on, and by which process."""
    await workshop.work(source, source.parent, derivatives=False)
    (pid,) = workshop.pids
    busy = is_busy(pid)
    task = asyncio.create_task(workshop.work(slow, slow.parent, derivatives=True))
    await eventually(busy, 60, what="it is busy")
    return task, pid


async def test_a_full_disk_is_no_fault_of_the_picture(
    workshop: Workshop, source: Path, tmp_path: Path
) -> None:
    into = tmp_path / "made"
    into.mkdir()
    (into / "card.avif").symlink_to("/dev/full")
    with pytest.raises(NoRoom, match=r"TMPDIR.*No space left on device"):
        await workshop.work(source, into, derivatives=True)
    before = workshop.pids
    (into / "card.avif").unlink()
    await workshop.work(source, into, derivatives=True)
    assert workshop.pids == before, "nor does it cost a process"


@pytest.mark.parametrize("fatal", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
async def test_a_crash_costs_one_picture(
    workshop: Workshop, source: Path, slow: Path, fatal: signal.Signals
) -> None:
    task, pid = await in_work(workshop, source, slow)
    waiting = asyncio.create_task(workshop.work(source, source.parent, derivatives=False))
    os.kill(pid, fatal)
    with pytest.raises(WorkshopLost, match=fatal.name) as lost:
        await task
    assert lost.value.why == "crash"
    assert (await waiting).width == 600
    assert pid not in workshop.pids


async def test_a_process_that_died_idle_costs_none(workshop: Workshop, source: Path) -> None:
    await workshop.work(source, source.parent, derivatives=False)
    (pid,) = workshop.pids
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not workshop.pids, 5, what="it is seen to be gone")
    assert (await workshop.work(source, source.parent, derivatives=False)).width == 600


async def test_it_may_not_take_long(source: Path, slow: Path) -> None:
    async with Workshop(limits=Limits(wall=timedelta(seconds=0.4))) as workshop:
        with pytest.raises(WorkshopLost) as lost:
            await workshop.work(slow, slow.parent, derivatives=True)
        assert lost.value.why == "time"
        assert (await workshop.work(source, source.parent, derivatives=False)).width == 600


async def test_it_may_not_take_all_of_the_processor(slow: Path) -> None:
    async with Workshop(limits=Limits(cpu=timedelta(seconds=0))) as workshop:
        with pytest.raises(WorkshopLost) as lost:
            await workshop.work(slow, slow.parent, derivatives=True)
        assert lost.value.why == "time"


async def test_the_processor_is_counted_for_each_picture_anew(source: Path) -> None:
    async with Workshop(limits=Limits(cpu=timedelta(seconds=1))) as workshop:
        await workshop.work(source, source.parent, derivatives=True)
        (pid,) = workshop.pids
        while cpu_seconds(pid) < 3:  # above any limit that had counted on
            await workshop.work(source, source.parent, derivatives=True)
        assert workshop.pids == [pid]


async def test_it_may_not_take_much_memory(source: Path, slow: Path) -> None:
    """The header promises little; the limit is the system's, and holds whatever a decoder does."""
    async with Workshop(limits=Limits(memory_bytes=70 * MIB)) as workshop:
        assert (await workshop.work(source, source.parent, derivatives=False)).width == 600
        with pytest.raises(WorkshopLost) as lost:
            await workshop.work(slow, slow.parent, derivatives=True)
        assert lost.value.why == "memory"
        assert (await workshop.work(source, source.parent, derivatives=False)).width == 600


async def test_whoever_is_cancelled_ends_the_process(workshop: Workshop, source: Path, slow: Path) -> None:
    task, pid = await in_work(workshop, source, slow)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(pid)
    picture = await workshop.work(source, source.parent, derivatives=False)
    assert picture.width == 600, "the answer to this question, not to the one before"


async def test_as_many_at_once_as_it_has_processes(tmp_path: Path, source: Path) -> None:
    async with Workshop(processes=2) as workshop:
        folders = [tmp_path / str(n) for n in range(6)]
        for folder in folders:
            folder.mkdir()
        works = [workshop.work(source, folder, derivatives=False) for folder in folders]
        pictures = await asyncio.gather(*works)
        assert len(workshop.pids) == 2
        pids = workshop.pids
    assert len({each.renditions[0].path for each in pictures}) == 6
    assert all(map(gone, pids))


async def test_a_process_is_replaced_in_time(source: Path) -> None:
    async with Workshop(recycle_after=2) as workshop:
        running = []
        for _ in range(5):
            await workshop.work(source, source.parent, derivatives=False)
            running.append(workshop.pids)
        assert [len(each) for each in running] == [1, 0, 1, 0, 1]
        assert len({pid for each in running for pid in each}) == 3


async def test_closing_ends_what_is_being_worked_on(source: Path, slow: Path) -> None:
    async with Workshop() as workshop:
        task, pid = await in_work(workshop, source, slow)
    assert gone(pid)
    with pytest.raises(WorkshopLost):
        await task
    with pytest.raises(RuntimeError, match="closed"):
        await workshop.work(source, source.parent, derivatives=False)


async def test_a_process_ends_with_the_worker(source: Path) -> None:
    """A worker that is killed cannot end its children."""
    script = (
        "import asyncio, sys, pathlib\n"
        "from worker.images.workshop import Workshop\n"
        "async def main():\n"
        "    async with Workshop() as workshop:\n"
        "        source = pathlib.Path(sys.argv[1])\n"
        "        await workshop.work(source, source.parent, derivatives=False)\n"
        "        print(workshop.pids[0], flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(source), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 30))
    assert not gone(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: gone(pid), 5, what="the child is gone")


async def test_a_process_knows_no_secrets(
    develop: Develop, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_do_not_tell")
    await develop(encode(photograph(60, 40), "jpeg"))
    (pid,) = workshop.pids
    environment, files = known(pid)
    assert b"sb_secret" not in environment
    assert b"SUPABASE" not in environment
    assert len(files) <= 6, f"the pipes, the copy of one, and what libvips opens: {files}"
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


def known(pid: int) -> tuple[bytes, list[str]]:
    process = Path(f"/proc/{pid}")
    return (process / "environ").read_bytes(), [os.readlink(each) for each in (process / "fd").iterdir()]


def test_the_worker_itself_loads_no_decoder() -> None:
    script = (
        "import sys, worker.cli, worker.app, worker.images.workshop\n"
        "print([each for each in sys.modules if 'vips' in each or 'darkroom' in each])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == "[]"
