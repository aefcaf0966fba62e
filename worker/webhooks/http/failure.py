"""What goes wrong on the way, sorted by whose fault it is. Pure."""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

from worker.errors import WorkerError
from worker.webhooks.answer import Trouble

# no network, no free port, no file descriptor left, no memory: nothing that the receiver could mend
_OURS: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
    }
)


class Failure(WorkerError):
    """No answer came. `again`: it failed before a byte came back, and a fresh connection may do better."""

    def __init__(self, trouble: Trouble, detail: str, *, again: bool = False) -> None:
        super().__init__(detail)
        self.trouble, self.again = trouble, again


def read_error(error: OSError) -> Failure:
    """What the operating system or TLS said while connecting, or of a connection."""
    if isinstance(error, ssl.SSLError):
        # a certificate's fault has a sentence of its own; other faults read "[SSL: REASON] words (file:line)"
        words = (
            getattr(error, "verify_message", None) or (error.reason or str(error)).replace("_", " ").lower()
        )
        return Failure("tls", f"TLS failed: {words}")
    if isinstance(error, TimeoutError):
        return Failure("timeout", "no connection in time")
    words = os.strerror(error.errno).lower() if error.errno else str(error) or "the connection was reset"
    if error.errno in _OURS:
        return Failure("local", words)
    return Failure("connect", words, again=isinstance(error, ConnectionError))
