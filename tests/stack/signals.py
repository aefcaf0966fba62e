"""What Ctrl-C and SIGTERM do, at which time."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import Any, Self

PATIENCE = 15.0
"""Seconds that a command has to end after it was told to."""


def end_politely() -> None:
    """From now on SIGTERM and SIGHUP unwind the stack, as Ctrl-C does, so that everything is torn down."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


class Forwarding:
    """Signals to this process go to the command, which may take `PATIENCE` seconds to end by itself."""

    def __init__(self) -> None:
        self._group: int | None = None
        self._early: list[int] = []
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        handlers = {
            signal.SIGINT: self._forward,
            signal.SIGTERM: self._forward,
            signal.SIGHUP: self._forward,
            signal.SIGALRM: self._lose_patience,
        }
        self._former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def aim(self, group: int) -> None:
        """At this process group; what came before it was known is sent now."""
        self._group = group
        for number in self._early:
            self._forward(number, None)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._group is None:
            self._early.append(number)
            return
        signal_group(self._group, number)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        if self._group is not None:
            signal_group(self._group, signal.SIGKILL)


def signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
