"""What an import says at its end, on standard output, and the exit code that goes with it."""

from __future__ import annotations

from typing import Final

from worker.catalogue.importing import Totals
from worker.catalogue.rehearsing import Rehearsal
from worker.catalogue.source import Source

FINE: Final = 0
INCOMPLETE: Final = 1

_HOW_ON: Final = (
    "Put the corrected lines into a file of their own: the quantities of an edited file are received again "
    "(--no-stock leaves them out)."
)


def imported(totals: Totals, source: Source, tenant: str, location: str) -> int:
    """Prints what was done; 1 when lines were refused."""
    print(f"{source.path.name} -> tenant {tenant}, location {location}")
    print(f"  lines     {totals.lines_taken:,} imported, {totals.lines_refused:,} refused")
    print(
        f"  products  {totals.created:,} created, {totals.updated:,} updated, "
        f"{totals.unchanged:,} unchanged (variants counted)"
    )
    print(f"  stock     {totals.received:,} pieces received")
    if not totals.lines_refused:
        return FINE
    print(f"{totals.lines_refused:,} lines were refused, see above; all others are in. {_HOW_ON}")
    return INCOMPLETE


def rehearsed(outcome: Rehearsal, source: Source, tenant: str, location: str) -> int:
    """Prints what would be done; 1 when lines would be refused."""
    print(f"{source.path.name} -> tenant {tenant}, location {location}: dry run, nothing was written")
    print(f"  lines     {outcome.lines_taken:,} good, {outcome.lines_refused:,} would be refused")
    print(f"  products  {outcome.new:,} new, {outcome.known:,} there already (variants counted)")
    print(f"  images    {outcome.images:,}")
    print(f"  stock     {outcome.pieces:,} pieces, less what was received from this very file before")
    return INCOMPLETE if outcome.lines_refused else FINE
