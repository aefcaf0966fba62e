"""What a fault case found out, as a row of a table and as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.flow.ledger import Judgement

Fact = float | int | str


@dataclass(frozen=True)
class Report:
    """`facts` beyond the judgement (milliseconds end in `_ms`); `faults` of the case itself."""

    case: str
    seconds: float
    judgement: Judgement
    facts: Mapping[str, Fact] = field(default_factory=dict)
    faults: Sequence[str] = ()

    @property
    def all_faults(self) -> list[str]:
        return [*self.judgement.faults, *self.faults]

    def line(self) -> str:
        judged = self.judgement
        return json.dumps(
            {
                "chaos": self.case,
                "ok": not self.all_faults,
                "seconds": round(self.seconds, 1),
                "committed": judged.committed,
                "events": judged.events,
                "received": judged.received,
                "lost": judged.events - judged.received,
                "duplicates": judged.duplicates,
                "explained": judged.explained,
                **self.facts,
                "faults": self.all_faults,
            }
        )


def show(reports: Sequence[Report], console: Console) -> None:
    table = Table(title="Faults", title_justify="left")
    for column in ("case", "committed", "events", "received", "lost", "duplicates", "explained", "seconds"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for report in reports:
        judged = report.judgement
        numbers = (
            judged.committed,
            judged.events,
            judged.received,
            judged.events - judged.received,
            judged.duplicates,
            judged.explained,
            round(report.seconds, 1),
        )
        style = "red" if report.all_faults else None
        table.add_row(report.case, *(str(number) for number in numbers), style=style)
    console.print(table)
    for report in reports:
        facts = ", ".join(f"{name} {value}" for name, value in report.facts.items())
        console.print(f"{report.case}: {facts}", highlight=False)
        for fault in report.all_faults:
            console.print(f"{report.case}: {fault}", style="red", highlight=False)
