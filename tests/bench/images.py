"""Photographs through the workshop, beside the bare library, and what the event loop notices meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import deno  # type: ignore[import-untyped]  # ships no types

from tests.bench.figures import Line, spread
from tests.flow.scene import Scene
from tests.stack.scripts import deno_environment
from worker.images.picture import Picture
from worker.images.workshop import Workshop

HERE = Path(__file__).resolve().parent / "photographs"
SMALLEST = 60_000
"""Bytes; below it a template's pictures are icons and avatars."""
TICK = 0.005
LAG_P99_MS = 20.0


async def images(scene: Scene) -> Line:
    """Some fifty photographs with all derivatives, one process, the bare library at every other turn.

    Pictures a second, bytes, and how late the loop comes to its ticks of 5 ms while the workshop works, and
    while nothing does.
    """
    del scene  # it needs no platform
    with TemporaryDirectory() as folder:
        photographs = await asyncio.to_thread(_photographs, Path(folder, "in"))
        idle = await _idle_lag()
        async with Workshop() as workshop, _bare() as bare:
            await workshop.work(photographs[0], _out(folder, "warm-up"), derivatives=True)
            await bare(photographs[0])
            pictures: list[Picture] = []
            lags: list[float] = []
            seconds = bare_seconds = 0.0
            for each in photographs:
                started = time.perf_counter()
                async with _watched(lags):
                    pictures.append(await workshop.work(each, _out(folder, each.name), derivatives=True))
                seconds += time.perf_counter() - started
                bare_seconds += await bare(each)
            peak = _peak_mb(workshop.pids[0])
    lag = spread(lags)
    return {
        "photographs": len(pictures),
        "megapixels": round(sum(each.width * each.height for each in pictures) / 1e6, 1),
        "per_s": round(len(pictures) / seconds, 2),
        "bare_libvips_per_s": round(len(pictures) / bare_seconds, 2),
        "share_of_bare": round(bare_seconds / seconds, 2),
        **_bytes(pictures),
        "loop_lag": lag,
        "loop_lag_idle": idle,
        "process_peak_mb": peak,
        "aim_lag_p99_ms": LAG_P99_MS,
        "met": lag["p99_ms"] < LAG_P99_MS,
    }


def _photographs(into: Path) -> list[Path]:
    """Each once, under the hash of its bytes."""
    command = [deno.find_deno_bin(), "install", "--quiet", "--frozen"]
    environment = deno_environment()
    subprocess.run(command, cwd=HERE, env=environment, check=True, timeout=300, capture_output=True)
    into.mkdir()
    for path in (HERE / "node_modules").glob(".deno/*/node_modules/*/assets/**/*"):
        if path.suffix.lower() in (".jpg", ".jpeg") and path.stat().st_size >= SMALLEST:
            data = path.read_bytes()
            (into / hashlib.sha256(data).hexdigest()).write_bytes(data)
    found = sorted(into.iterdir())
    assert len(found) >= 24, f"{len(found)} photographs"
    return found


def _out(folder: str, name: str) -> Path:
    path = Path(folder, f"out-{name}")
    path.mkdir()
    return path


def _bytes(pictures: list[Picture]) -> dict[str, float]:
    """What a shop would serve: the pictures as they came, against the master, and against each derivative."""
    source = sum(each.source_bytes for each in pictures)
    told: dict[str, float] = {"source_bytes": source}
    for name, kind in (
        ("master", "webp"),
        ("zoom", "webp"),
        ("zoom", "avif"),
        ("card", "webp"),
        ("card", "avif"),
    ):
        served = sum(
            r.bytes for each in pictures for r in each.renditions if (r.name, r.format) == (name, kind)
        )
        told[f"{name}_{kind}_saved_share"] = round(1 - served / source, 3)
    return told


@asynccontextmanager
async def _bare() -> AsyncIterator[Callable[[Path], Awaitable[float]]]:
    """Seconds for a picture, in a process that knows libvips alone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bare_pictures", stdin=PIPE, stdout=PIPE
    )
    questions, answers = process.stdin, process.stdout
    assert questions is not None
    assert answers is not None

    async def ask(path: Path) -> float:
        questions.write(f"{path}\n".encode())
        return float(await asyncio.wait_for(answers.readline(), 60))

    try:
        yield ask
    finally:
        questions.close()
        await process.wait()


@asynccontextmanager
async def _watched(lags: list[float]) -> AsyncIterator[None]:
    """Seconds by which the loop came late, each tick."""

    async def watch() -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            lags.append(max(0.0, time.perf_counter() - due))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


async def _idle_lag() -> dict[str, float]:
    lags: list[float] = []
    async with _watched(lags):
        await asyncio.sleep(3)
    return spread(lags)


def _peak_mb(pid: int) -> int:
    told = Path(f"/proc/{pid}/status").read_text()
    return next(int(each.split()[1]) for each in told.splitlines() if each.startswith("VmHWM")) // 1024
