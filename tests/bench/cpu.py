"""Processor time of processes, from /proc: user and system, all threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stack.platform import Platform

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds so far."""

    worker: float
    postgres: float
    postgrest: float
    gateway: float

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(
            self.worker - before.worker,
            self.postgres - before.postgres,
            self.postgrest - before.postgrest,
            self.gateway - before.gateway,
        )

    def per(self, count: int) -> dict[str, float]:
        """Milliseconds for each of `count`."""
        return {
            f"{name}_cpu_ms": round(getattr(self, name) / count * 1000, 4)
            for name in ("worker", "postgres", "postgrest", "gateway")
        }


def used(platform: Platform, worker_pid: int) -> Cpu:
    """By `worker_pid` and the parts of `platform`."""
    return Cpu(
        worker=_own(worker_pid),
        postgres=_with_children(platform.postgres.pid),
        postgrest=_own(platform.postgrest.pid),
        gateway=_own(platform.gateway.pid),
    )


def _fields(pid: int) -> list[str]:
    """From the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _own(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICK


def _with_children(pid: int) -> float:
    """Its own, that of its living children, and that of those which ended."""
    fields = _fields(pid)
    ended = (int(fields[13]) + int(fields[14])) / TICK
    return _own(pid) + ended + sum(_living(child) for child in _children(pid))


def _living(pid: int) -> float:
    """0 when it has ended meanwhile: then its parent has it."""
    try:
        return _own(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())
