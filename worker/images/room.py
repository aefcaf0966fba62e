"""No room on this machine's disk is our own trouble: it says nothing of the picture, nor of where it lies."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.errors import WorkerError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoRoom(WorkerError):
    """The disk of the folder for temporary files, or what this user may have of it, is full."""


@contextmanager
def room() -> Iterator[None]:
    """Raises `NoRoom` for the errors that mean it; all others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoRoom(f"the folder for temporary files (TMPDIR): {error.strerror}") from error
