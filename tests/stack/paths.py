"""Where things are."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

STACK = Path(__file__).resolve().parent
ROOT = STACK.parent.parent
SUPABASE = ROOT / "supabase"
NODE_MODULES = STACK / "node_modules"

PLENTY = 6 * 2**30
"""Bytes of memory, available, with which a run may keep its data there."""


def cache_dir() -> Path:
    """Where templates are kept between runs: `.cache/stack`, or a place of one's own if that is read-only."""
    for base in (ROOT / ".cache" / "stack", Path(tempfile.gettempdir()) / f"pms-stack-cache-{_me()}"):
        try:
            base.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(base, os.W_OK):
            return base
    raise SystemExit(
        f"no writable place for the platform's cache: tried {ROOT / '.cache'} and the temp directory"
    )


def temp_base() -> Path:
    """The parent of run directories: one that another user can walk into, because Postgres may run as one."""
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(base).resolve()
        if path.is_dir() and os.access(path, os.W_OK) and walkable_by_others(path):
            return path
    return Path(tempfile.gettempdir())


def memory_base() -> Path:
    """As `temp_base`, in memory where there is plenty: a database's 700 files take some disks a second."""
    shared = Path("/dev/shm")
    try:
        place = os.statvfs(shared)
        room = min(place.f_bavail * place.f_frsize, _available_memory())
        usable = room >= PLENTY and os.access(shared, os.W_OK) and walkable_by_others(shared)
    except OSError:  # not Linux
        usable = False
    return shared if usable else temp_base()


def _available_memory() -> int:
    """Bytes that processes can still get without swapping, by /proc/meminfo."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def walkable_by_others(path: Path) -> bool:
    """Whether every directory on the way to `path` lets any user pass."""
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in passwd: containers do this
        return str(os.getuid())
