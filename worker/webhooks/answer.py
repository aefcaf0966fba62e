"""What one attempt came to, and whose fault it was if it failed. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from worker.gateway.lanes import NO_TIMINGS, Timings

Trouble = Literal[
    "timeout", "connect", "tls", "protocol", "blocked", "no_such_host", "resolver", "proxy", "local"
]
"""Why there is no status. `resolver`, `proxy` and `local` are our own faults, all others the endpoint's."""

OURS: Final[frozenset[Trouble]] = frozenset({"resolver", "proxy", "local"})


class Answer(Struct, gc=False):
    """What one attempt came to: a `status`, or `trouble` with its `detail`.

    `seconds`: how long it took in all. `head`: up to 1 KiB of the body as text, as it came (compressed
    bodies are not expanded).
    """

    seconds: float
    status: int | None = None
    head: str | None = None
    retry_after: timedelta | None = None
    trouble: Trouble | None = None
    detail: str | None = None
    timings: Timings = NO_TIMINGS

    @property
    def taken(self) -> bool:
        """Whether the endpoint took the delivery."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def ours(self) -> bool:
        return self.trouble in OURS
