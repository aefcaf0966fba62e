"""Draws a board with rich: the same picture while it happens and at the end."""

from __future__ import annotations

import time
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tests.demo.board import Board, Row, percentile
from tests.demo.receiver import Inbox

SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BARS: Final = " ▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 32
WIDE: Final = 96
"""Columns from which there is room for what an endpoint listens to."""
TITLE: Final = "A catalogue's way to verified webhooks"


def draw(board: Board, width: int) -> RenderableType:
    """The whole picture, for a console of `width` columns."""
    seconds = f"{max((row.ended or time.monotonic()) for row in board.rows) - board.began:.1f} s"
    head = Rule(Text.assemble((TITLE, "bold"), ("  ·  ", "dim"), (seconds, "dim")), style="dim", align="left")
    parts: list[RenderableType] = [head, Padding(_acts(board), (1, 0))]
    if board.stage is not None and board.stage.receiver.inboxes:
        parts += [_inboxes(board, with_filters=width >= WIDE), Padding(_footer(board), (0, 1))]
    return Padding(Group(*parts), (0, 1))


def _acts(board: Board) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(width=1)
    grid.add_column(no_wrap=True, min_width=13)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True, style="dim", min_width=6)
    for row in board.rows:
        took = f"{row.seconds:.1f} s" if row.state != "waiting" else ""
        grid.add_row(_mark(row), Text(row.title, style=_title_style(row)), _note(row), took)
    return grid


def _mark(row: Row) -> Text:
    match row.state:
        case "waiting":
            return Text("·", style="dim")
        case "running":
            return Text(SPINNER[int(time.monotonic() * 10) % len(SPINNER)], style="cyan")
        case "done":
            return Text("✔", style="bold green")
        case "failed":
            return Text("✘", style="bold red")


def _title_style(row: Row) -> str:
    return {"waiting": "dim", "running": "bold cyan", "done": "bold", "failed": "bold red"}[row.state]


def _note(row: Row) -> Text:
    return Text(row.note, style={"running": "cyan", "failed": "red"}.get(row.state, "default"))


def _inboxes(board: Board, *, with_filters: bool) -> Table:
    assert board.stage is not None
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", expand=True, pad_edge=True, show_edge=False)
    table.add_column("endpoint", no_wrap=True)
    if with_filters:
        table.add_column("listens to", ratio=1, style="dim", no_wrap=True)
    for name in ("verified", "500 first", "came back", "twice", "wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for inbox in tuple(board.stage.receiver.inboxes):
        endpoint, filters, *figures = _inbox(inbox)
        table.add_row(endpoint, *([filters] if with_filters else []), *figures)
    return table


def _inbox(inbox: Inbox) -> tuple[RenderableType, ...]:
    back = "yellow" if inbox.retried < inbox.refused else "green"
    return (
        inbox.name,
        " ".join(inbox.events),
        Text(f"{len(inbox.receipts):,}", style="bold green"),
        _count(inbox.refused, "yellow"),
        _count(inbox.retried, back),
        _count(inbox.duplicates, "yellow"),
        _count(len(inbox.problems), "bold red"),
    )


def _count(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style if number else "dim")


def _footer(board: Board) -> Text:
    latencies = board.latencies()
    p50, p99 = percentile(latencies, 0.50), percentile(latencies, 0.99)
    text = Text()
    if p50 is not None and p99 is not None:
        text.append("an edit reaches its receiver in ", style="dim")
        text.append(f"{p50:.0f} ms", style="bold")
        text.append(f" (p50), {p99:.0f} ms (p99)   ", style="dim")
    if any(row.state == "running" for row in board.rows):
        text.append(_sparkline(board.arrivals(SPARK_WIDTH)), style="green")
    return text


def _sparkline(counts: list[int]) -> str:
    top = max(*counts, 1)
    return "".join(BARS[-(-count * (len(BARS) - 1) // top)] for count in counts)
