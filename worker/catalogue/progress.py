"""What a person sees while a file goes in or out: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_STEPS: Final = 10
# a smaller total is over too soon to be watched
_PLAIN_FROM: Final = 1_000


class Report:
    """Progress and messages on `stream` (standard error). Use with `with`."""

    def __init__(self, what: str, *, total: int, unit: str, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit, markup=False),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Report:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, total: int) -> None:
        """The total, where it is known later only."""
        self._total = total
        if self._bar:
            self._bar.update(self._task, total=total)

    def reached(self, done: int) -> None:
        """`done` of the total are behind us; a smaller number than before changes nothing."""
        before, self._done = self._done, max(self._done, min(done, self._total))
        if self._bar:
            self._bar.update(self._task, completed=self._done)
        elif self._step(before) != self._step(self._done):
            self.say(f"{self._what}: {self._done:,} of {self._total:,} {self._unit}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._console.print(text, markup=False)

    def _step(self, done: int) -> int:
        steps = _PLAIN_STEPS if self._total >= _PLAIN_FROM else 1
        return done * steps // max(self._total, 1)
