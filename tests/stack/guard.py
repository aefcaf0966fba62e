"""Ends a platform whose owner died, however it died.

Runs as a process of its own (`python guard.py`) in a session of its own and reads lines from its standard
input, a pipe that only the owner writes to: `+PID SIGNAL`, `-PID`, `rm DIRECTORY`. When the pipe closes,
also because of kill -9, it signals what is still registered, kills what is left after a grace period, and
removes the directories. A parent-death signal would not do: it fires when the *thread* that started the child
ends, and only Linux has it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

GRACE = 3.0


class Guard:
    """The owner's end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def enlisting(self, last_signal: int = signal.SIGTERM) -> Callable[[], None]:
        """A `preexec_fn`: the child registers itself before it runs: no moment leaves it unwatched."""
        assert self._process.stdin is not None
        pipe, number = self._process.stdin.fileno(), int(last_signal)

        def enlist() -> None:
            os.write(pipe, b"+%d %d\n" % (os.getpid(), number))

        return enlist

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def remove_at_end(self, directory: str) -> None:
        self._tell(f"rm {directory}")

    def close(self) -> None:
        """Let it finish: everything still registered ends now."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(GRACE + 10)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    pids: dict[int, int] = {}
    directories: list[str] = []
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "rm":
            directories.append(rest)
        elif word.startswith("+"):
            pids[int(word[1:])] = int(rest)
        elif word.startswith("-"):
            pids.pop(int(word[1:]), None)
    _end(pids)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _end(pids: dict[int, int]) -> None:
    for pid, last_signal in pids.items():
        _signal(pid, last_signal)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(_signal(pid, 0) for pid in pids):
        time.sleep(0.05)
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(_signal(pid, 0) for pid in pids):
        time.sleep(0.05)


def _signal(pid: int, number: int) -> bool:
    """Signal the process's whole group: every part leads its own."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
