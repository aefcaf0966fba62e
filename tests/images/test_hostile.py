"""A folder of hostile and broken files: none crashes the worker, hangs it, or takes 512 MB."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.images.conftest import Develop
from tests.images.hostile import KINDS, Case, everything, good, png, polyglots, strangers
from tests.images.samples import encode, photograph, with_segment
from tests.images.served import bare
from worker.images.inspect import inspect
from worker.images.limits import MIB, Limits
from worker.images.picture import Unfit, WorkshopLost
from worker.images.workshop import Workshop

ALL_TOGETHER = 512 * MIB


def judged(case: Case) -> str | None:
    """By its header alone."""
    try:
        inspect(case.data, Limits())
    except Unfit as unfit:
        return unfit.code
    return None


@pytest.mark.parametrize("case", [*strangers(), *polyglots()], ids=lambda each: each.name)
def test_they_are_recognised_without_decoding(case: Case) -> None:
    assert judged(case) in case.codes


@pytest.mark.parametrize("name", good())
def test_good_ones_are_let_pass(name: str) -> None:
    header, appended = inspect(good()[name], Limits())
    assert (header.width, header.height) in ((96, 64), (32, 32))
    assert appended == ""
    assert header.end == len(good()[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ending", "appended"),
    [
        (bytes(3000), "padding"),
        (b"\r\n", "padding"),
        (b"\xff" * 100, "padding"),
        (encode(photograph(64, 64), "jpeg"), "jpeg"),
        (bytes(10) + encode(photograph(64, 64), "jpeg"), "jpeg"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0" + bytes(range(256)) * 20, "video"),
        (bytes(range(128, 256)) * 30 + b"SEFT", "unknown"),
    ],
)
def test_what_cameras_append_is_let_pass(kind: str, ending: bytes, appended: str) -> None:
    assert inspect(good()[kind] + ending, Limits())[1] == appended


def test_ordinary_texts_are_no_code() -> None:
    for text in (b"CREATOR: gd-jpeg v1.0", b"Photo by <jane@example.com> & sons", bytes(range(256))):
        inspect(with_segment(good()["jpeg"], 0xFE, text), Limits())


@pytest.mark.timeout(600)
async def test_the_whole_folder(tmp_path: Path) -> None:
    """One process for all of them: what one file did must not show in the next."""
    cases = list(everything())
    assert len(cases) > 500
    limits = Limits(cpu=timedelta(seconds=20), wall=timedelta(seconds=60))
    wrong, passed = [], 0
    before = resident("VmRSS")
    forget_peak()
    async with Workshop(limits=limits, recycle_after=10_000) as workshop:
        for n, case in enumerate(cases):
            folder = tmp_path / str(n)
            folder.mkdir()
            (folder / "source").write_bytes(case.data)
            began = time.monotonic()
            try:
                picture = await workshop.work(folder / "source", folder, derivatives=True)
            except Unfit as unfit:
                if not case.allows(unfit.code):
                    wrong.append((case.name, unfit.code))
            except WorkshopLost as lost:
                wrong.append((case.name, str(lost)))
            else:
                passed += 1
                if not case.allows(None):
                    wrong.append((case.name, "passed"))
                assert all(map(bare, picture.renditions)), case.name
            assert time.monotonic() - began < 20, case.name
        (pid,) = workshop.pids
        child = resident("VmHWM", pid)
    assert wrong == []
    assert passed > 10, "bent files that still show something are shown"
    # what a whole suite left in this process is not what these files took
    assert child + resident("VmHWM") - before < ALL_TOGETHER


def resident(field: str, pid: int | None = None) -> int:
    """Bytes: `VmRSS` now, `VmHWM` at most, since `forget_peak` in this process."""
    told = Path(f"/proc/{pid or 'self'}/status").read_text()
    line = next(each for each in told.splitlines() if each.startswith(field))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def test_a_jpeg_that_is_cut_and_closed_again_is_refused(develop: Develop) -> None:
    """libjpeg shows such a one, with its lower half grey."""
    source = encode(photograph(300, 200), "jpeg")
    with pytest.raises(Unfit, match=r"image\.truncated"):
        await develop(source[: len(source) // 2] + b"\xff\xd9")


async def test_a_jpeg_that_libjpeg_only_grumbles_at_passes(develop: Develop) -> None:
    """Bytes between the segments, as some cameras leave them."""
    source = encode(photograph(300, 200), "jpeg")
    assert (await develop(source[:-2] + bytes(4) + source[-2:])).width == 300


async def test_pixels_that_are_missing_are_noticed(develop: Develop) -> None:
    """The container is whole, and its checksums are right."""
    with pytest.raises(Unfit):
        await develop(png(300, 300))


@pytest.mark.parametrize(
    ("depth", "chroma", "most"), [(8, "on", 16), (8, "off", 8), (10, "on", 8), (10, "off", 5), (12, "on", 5)]
)
def test_an_avif_is_weighed_by_its_depth_and_chroma(depth: int, chroma: str, most: int) -> None:
    """Megapixels that it may have: by what decoding one took."""
    image = photograph(96, 64)
    data = encode(
        image if depth == 8 else image.colourspace("rgb16"), "avif", bitdepth=depth, subsample_mode=chroma
    )
    header, _ = inspect(data, Limits())
    assert int(Limits().picture_bytes / header.bytes_per_pixel / 1e6) == most


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(encode(photograph(300, 200), "jpeg"))
    async with Workshop(limits=Limits(source_bytes=1000)) as workshop:
        with pytest.raises(Unfit, match=r"image\.too_large"):
            await workshop.work(source, tmp_path, derivatives=False)
