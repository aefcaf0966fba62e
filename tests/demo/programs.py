"""Runs a program of the demo to its end: within a deadline, and never longer than the demo itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.demo.stage import DemoFailedError
from tests.stack.platform import Platform

PATIENCE = 60.0
"""Seconds until a program that hangs is ended."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The end of what it said, for a message."""
        return " / ".join((self.err or self.out).strip().splitlines()[-3:])


def pms_worker(*arguments: str) -> list[str]:
    """The command line of the installed `pms-worker`."""
    return [str(Path(sys.executable).with_name("pms-worker")), *arguments]


async def run_program(
    platform: Platform,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Runs it to its end; `on_line` hears standard output as it comes.

    Raises `DemoFailedError` if it cannot start or does not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=platform.run,
            env={**os.environ, "NO_COLOR": "1", **environment},
            start_new_session=True,
            preexec_fn=platform.guard.enlisting(),  # it only writes to a pipe
        )
    except OSError as error:
        raise DemoFailedError(f"cannot run {command[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await asyncio.gather(_read(process.stdout, on_line), _read(process.stderr, None))
            return Ended(await process.wait(), out, err)
    except TimeoutError:
        raise DemoFailedError(f"{' '.join(command[:3])} did not end within {PATIENCE:g} s") from None
    finally:
        await _end(process)
        platform.guard.forget(process.pid)


async def _read(stream: asyncio.StreamReader | None, on_line: Callable[[str], None] | None) -> str:
    assert stream is not None
    lines: list[str] = []
    async for raw in stream:
        lines.append(raw.decode(errors="replace"))
        if on_line is not None:
            on_line(lines[-1].rstrip("\n"))
    return "".join(lines)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
