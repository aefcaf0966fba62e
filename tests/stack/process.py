"""One child process of the platform: a session of its own, a log file, and the guard's eye on it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.eventually import DidNotHappenError, wait_until
from tests.stack.errors import PartFailedError
from tests.stack.guard import Guard
from tests.stack.user import User

STOP_SECONDS = 10.0
READY_SECONDS = 60.0


class Child:
    """`start` returns when `ready` says so; raises `PartFailedError` with the end of the log otherwise."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        guard: Guard,
        ready: Callable[[], bool],
        stop_signal: int = signal.SIGTERM,
        last_signal: int = signal.SIGKILL,
        user: User | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._env = dict(env)
        self._guard = guard
        self._ready = ready
        self._stop_signal = stop_signal
        self._last_signal = last_signal
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise PartFailedError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start without waiting, so that several parts get ready at the same time."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                preexec_fn=self._guard.enlisting(self._last_signal),  # noqa: PLW1509 - it only writes to a pipe
                **(self._user.popen_arguments() if self._user else {}),
            )

    def stop(self, signal_number: int | None = None, deadline: float = STOP_SECONDS) -> int | None:
        """Ask it to end, kill it at the deadline; its exit code, or None if it was not running."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self._stop_signal if signal_number is None else signal_number)
        try:
            self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self._kill_group()
        return self._reap()

    def kill(self) -> None:
        """kill -9, for the whole group."""
        if self._process is not None:
            self._kill_group()
            self._reap()

    def tail(self, lines: int = 25) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def wait_ready(self) -> None:
        assert self._process is not None, "spawn first"
        process = self._process

        def ready_or_dead() -> bool:
            return process.poll() is not None or self._ready()

        try:
            wait_until(ready_or_dead, READY_SECONDS)
        except DidNotHappenError:
            self.kill()
            raise PartFailedError(
                f"{self.name} was not ready within {READY_SECONDS:g} s:\n{self.tail()}"
            ) from None
        if (code := process.poll()) is not None:
            self._reap()
            raise PartFailedError(f"{self.name} ended with exit code {code} while starting:\n{self.tail()}")

    def _kill_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> int:
        assert self._process is not None
        code = self._process.wait(STOP_SECONDS)
        self._guard.forget(self._process.pid)
        self._process = None
        return code


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200 now: what most parts' readiness is."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False
