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


def walkable_by_others(path: Path) -> bool:
    """Whether every directory on the way to `path` lets any user pass."""
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in passwd: containers do this
        return str(os.getuid())
