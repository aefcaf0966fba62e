"""Where the board is shown: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live

from tests.demo.board import Board, Row
from tests.demo.table import draw

WIDTH: Final = 110
"""Wider lines are hard to read."""


class LiveScreen:
    """Redraws by itself while it is entered, and leaves the last picture standing."""

    def __init__(self, console: Console, board: Board) -> None:
        self._board, self._console = board, console
        console.width = min(console.width, WIDTH)
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._live.stop()

    def changed(self, row: Row) -> None:
        self._live.refresh()

    def _draw(self) -> RenderableType:
        return draw(self._board, self._console.width)


class PlainScreen:
    """A line when an act begins, a line when it ends, and the picture at the end."""

    def __init__(self, console: Console, board: Board) -> None:
        self._board, self._console = board, console
        console.width = WIDTH

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._console.print(draw(self._board, self._console.width))

    def changed(self, row: Row) -> None:
        match row.state:
            case "done":
                self._say(f"{row.title}: {row.note} ({row.seconds:.1f} s)")
            case "failed":
                self._say(f"{row.title}: FAILED after {row.seconds:.1f} s: {row.note}")
            case _:
                self._say(f"{row.title} …")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def screen_for(console: Console, board: Board) -> LiveScreen | PlainScreen:
    """Live on a terminal that can move its cursor."""
    return (
        LiveScreen(console, board)
        if console.is_terminal and not console.is_dumb_terminal
        else PlainScreen(console, board)
    )
