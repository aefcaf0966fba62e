"""What one attempt came to, and whose fault it was if it failed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

Trouble = Literal[
    "timeout", "connect", "tls", "protocol", "blocked", "no_such_host", "resolver", "proxy", "local"
]
"""Why there is no status. `resolver`, `proxy` and `local` are our own faults, all others the endpoint's."""

OURS: Final[frozenset[Trouble]] = frozenset({"resolver", "proxy", "local"})


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of an attempt went, as far as it came.

    `dns`: until the wall had its answer; None when it was known. `connect`: TCP, TLS and the proxy's part;
    None when a kept connection was used. `first_byte`: from writing the request to the answer's first byte.
    """

    dns: timedelta | None = None
    connect: timedelta | None = None
    first_byte: timedelta | None = None


NO_TIMINGS: Final = Timings()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt came to: a `status`, or `trouble` with its `detail`.

    `head`: up to 1 KiB of the body as text, as it came (compressed bodies are not expanded).
    """

    duration: timedelta
    status: int | None = None
    head: str | None = None
    retry_after: timedelta | None = None
    trouble: Trouble | None = None
    detail: str | None = None
    timings: Timings = NO_TIMINGS

    @property
    def ours(self) -> bool:
        return self.trouble in OURS
