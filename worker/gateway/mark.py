"""How far deliveries are known to be committed: what dispatch learns, told to whoever reads the lanes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class DeliveryMark:
    """`last_id`: every delivery up to it is committed; None until dispatch has answered once.

    With it a read need not look for the end of the queue, which lies behind all that was settled while some
    session holds xmin. It follows the last answer downwards too: a database that was set back to an earlier
    state gives ids again.
    """

    last_id: int | None = None
    outbox: str = "0"
    """Dispatch's own mark: below it nothing is left in the outbox but deleted entries."""
