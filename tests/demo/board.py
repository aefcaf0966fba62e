"""What there is to see: the acts and how far they are, the inboxes and what they hold. Screens draw it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tests.demo.stage import Stage

State = Literal["waiting", "running", "done", "failed"]


@dataclass
class Row:
    """One act as the audience sees it; `note` is what it does, and at its end what came of it."""

    title: str
    note: str = ""
    state: State = "waiting"
    began: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it took, or takes until now."""
        match self.state:
            case "waiting":
                return 0.0
            case "running":
                return time.monotonic() - self.began
            case _:
                return self.ended - self.began


class Screen(Protocol):
    """Shows a board; `changed` is called with the row that is new, or has another state."""

    def changed(self, row: Row) -> None: ...


@dataclass
class Board:
    rows: list[Row]
    stage: Stage | None = None
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def acting(self, title: str, screen: Screen) -> Iterator[Row]:
        """The act runs while this is entered; an exception marks it as failed and goes on."""
        row = next(row for row in self.rows if row.title == title)
        row.state, row.began = "running", time.monotonic()
        screen.changed(row)
        try:
            yield row
            row.state = "done"
        except BaseException as error:
            row.state, row.note = "failed", str(error).partition("\n")[0].rstrip(":") or "interrupted"
            raise
        finally:
            row.ended = time.monotonic()
            screen.changed(row)

    def latencies(self) -> list[float]:
        """Milliseconds from write to arrival, of single edits, sorted; the drawing thread may ask."""
        if self.stage is None or self.stage.edits_began is None:
            return []
        since = self.stage.edits_began
        inboxes = tuple(self.stage.receiver.inboxes)
        receipts = (receipt for inbox in inboxes for receipt in list(inbox.receipts.values()))
        return sorted(receipt.latency_ms for receipt in receipts if receipt.written_at >= since)

    def arrivals(self, quarters: int) -> list[int]:
        """Deliveries in each of the last quarters of a second, the newest last."""
        now = int(time.monotonic() * 4)
        seen = self.stage.receiver.arrivals if self.stage else {}
        return [seen.get(at, 0) for at in range(now - quarters + 1, now + 1)]


def percentile(values: Sequence[float], share: float) -> float | None:
    """Of sorted values, by nearest rank; None of none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None
