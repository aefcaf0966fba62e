"""One child process that looks at pictures, seen from the worker: started, asked, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import worker
from worker.images.limits import Limits
from worker.images.picture import Picture, Unfit, Why, WorkshopLost
from worker.images.room import NoRoom

START_SECONDS = 30.0
END_SECONDS = 2.0
GONE_SECONDS = 10.0
ANSWER_BYTES = 256 * 1024
STDERR_KEPT = 2000
Answer = Mapping[str, Any]


class PictureProcess:
    """A running child. After `WorkshopLost` or a cancellation it is dead, and `alive` says so."""

    def __init__(self, process: Process, limits: Limits) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process needs its three pipes")
        self._process = process
        self._questions, self._answers, self._complaints = process.stdin, process.stdout, process.stderr
        self._limits = limits
        self._said = bytearray()
        self._listening = asyncio.create_task(self._listen())
        self.worked = 0
        self._killed = False

    @classmethod
    async def start(cls, limits: Limits, scratch: Path) -> Self:
        """Raises `WorkshopLost` when it does not come up."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the current folder
            "-m",
            "worker.images.child",
            json.dumps(limits.to_json()),
            str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(scratch),
            start_new_session=True,
        )
        child = cls(process, limits)
        await child._answer(START_SECONDS)
        return child

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    @property
    def pid(self) -> int:
        return self._process.pid

    async def work(self, source: Path, into: Path, *, derivatives: bool) -> Picture:
        """Raises `Unfit` and `NoRoom`, or `WorkshopLost` and is dead."""
        question = {
            "source": str(source),
            "into": str(into),
            "derivatives": derivatives,
        }
        self.worked += 1
        answer = await self._answer(self._limits.wall.total_seconds(), json.dumps(question).encode())
        match answer:
            case {"picture": told}:
                return Picture.from_json(told)
            case {"unfit": {"code": code, "detail": detail}}:
                raise Unfit(code, detail)
            case {"full": told}:
                raise NoRoom(told)
            case _:
                await self.kill()
                raise WorkshopLost("memory", "A picture needed more memory than one may have.")

    async def _answer(self, seconds: float, question: bytes | None = None) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                if question is not None:
                    self._questions.write(len(question).to_bytes(4, "big") + question)
                    await self._questions.drain()
                length = int.from_bytes(await self._answers.readexactly(4), "big")
                if length > ANSWER_BYTES:
                    raise ValueError(f"an answer of {length} bytes")
                answer: Answer = json.loads(await self._answers.readexactly(length))
                return answer
        except TimeoutError as error:
            await self.kill()
            raise WorkshopLost("time", f"A picture took more than {seconds:.0f} s.") from error
        except (EOFError, OSError, ValueError) as error:
            await self.kill()
            raise self._lost() from error
        except asyncio.CancelledError:
            await self.kill()  # it would answer whoever asks next
            raise

    def _lost(self) -> WorkshopLost:
        code = self._process.returncode
        said = self._said.decode("utf-8", "replace").strip()
        why: Why = "crash"
        if code == -signal.SIGXCPU:
            why, said = "time", "A picture took more of the processor than it may."
        elif "alloc" in said or "MemoryError" in said:  # GLib ends the process when it gets no memory
            why = "memory"
        return WorkshopLost(
            why, f"The process that looks at pictures ended ({_ending(code)}). {said}".strip()
        )

    async def _listen(self) -> None:
        """Keeps the last of what it complains about, and the pipe empty."""
        while part := await self._complaints.read(4096):
            self._said += part
            del self._said[:-STDERR_KEPT]

    async def end(self) -> None:
        """Lets it go by itself, which it does when nobody can ask any more."""
        self._questions.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            pass
        finally:
            await self.kill()

    async def kill(self) -> None:
        """At once, and waits until it is gone, even when cancelled meanwhile: a kill takes no time."""
        self._killed = True
        if self._process.returncode is None:
            # not Process.kill: it looks first whether the process ended, and so takes the exit code from
            # asyncio's watcher, which then knows none
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.shield(gone)
        except asyncio.CancelledError:
            await gone
            raise

    async def _gone(self) -> None:
        """Not for ever: a killed process is no reason to hold up whoever waits for its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                await self._process.wait()
                await asyncio.shield(self._listening)
        self._listening.cancel()


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing of the worker's: it holds keys."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(worker.__file__).resolve().parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "TMPDIR": str(scratch),
        "HOME": str(scratch),
        # what is held stays held: decoding to disk would move the memory to where no limit sees it
        "VIPS_DISC_THRESHOLD": "1t",
        # large buffers go back to the system with the picture that they were for
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit {code}"
