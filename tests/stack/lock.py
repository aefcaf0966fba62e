"""A lock between processes, dropped by the kernel when its owner dies: there are no stale ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tests.eventually import DidNotHappenError, wait_until
from tests.stack.errors import StackError


@contextlib.contextmanager
def file_lock(path: Path, *, deadline: float = 120.0) -> Iterator[None]:
    """Hold `path`. Raises `StackError` naming the owner's pid after `deadline` seconds."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def locked() -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        try:
            wait_until(locked, deadline)
        except DidNotHappenError:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            raise StackError(f"{path} is still held by process {owner} after {deadline:g} s") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
