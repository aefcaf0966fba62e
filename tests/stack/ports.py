"""Free ports, chosen so that two platforms never choose the same one.

Ports come from below the kernel's ephemeral range, so that no outgoing connection takes one between choosing
and listening, and each is held by a file lock for as long as its platform lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from tests.stack.errors import PortTakenError, StackError

FIRST, LAST = 20_000, 31_999


class PortLeases:
    """The ports of one platform."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.gettempdir()) / f"pms-stack-ports-{os.getuid()}"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._files: list[int] = []

    def take(self, wanted: int | None = None) -> int:
        """A port of 127.0.0.1: `wanted` (raises `PortTakenError`), else any free one."""
        if wanted is not None:
            if not is_free(wanted):
                raise PortTakenError(
                    f"port {wanted} is taken by another process; choose another or stop that one"
                )
            return wanted
        candidates = random.sample(range(FIRST, LAST + 1), 200)
        for port in candidates:
            if self._lock(port):
                return port
        raise StackError(f"no free port among 200 tried between {FIRST} and {LAST}")

    def release(self) -> None:
        for fd in self._files:
            os.close(fd)
        self._files.clear()

    def _lock(self, port: int) -> bool:
        fd = os.open(self._directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_free(port):
                self._files.append(fd)
                return True
        os.close(fd)
        return False


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now (connections in TIME_WAIT do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True
