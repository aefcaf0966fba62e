"""What the edge adapter, or the way to it, says no with.

EdgeError                 `code` is stable: docs/errors.md and docs/api/README.md list them
├── EdgeUnreachable       no whole answer came: a write may or may not have taken effect   (transient)
├── EdgeUnavailable       5xx: it cannot work                                              (transient)
├── EdgeBusy              429 and 408: wait for `retry_after`                              (transient)
├── KeyNotAccepted        401: key, secret, nonce or clock
├── NotAllowed            403: the key may not do this, or not from this address
├── NotThere              404 and 410
├── Conflicting           409: it contradicts what is stored
│   └── VersionStale      somebody was faster: read again, apply the change, send again
├── NotValid              another 4xx: `failures` lists all that is wrong
└── EdgeAnswerUnreadable  too large, or no JSON; a write has taken effect
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from worker.errors import WorkerError


class EdgeError(WorkerError):
    """`status` is None where no answer came. `request_id` finds the request in the adapter's log."""

    transient = False

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        status: int | None = None,
        hint: str | None = None,
        failures: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
        retry_after: timedelta | None = None,
        server_time: float | None = None,
    ) -> None:
        self.code, self.detail, self.status, self.hint = code, detail, status, hint
        self.failures, self.request_id = tuple(failures), request_id
        self.retry_after, self.server_time = retry_after, server_time
        super().__init__(code)

    def __str__(self) -> str:
        parts = [self.code, self.detail and f"- {self.detail}", self.hint and f"({self.hint})"]
        return " ".join(part for part in parts if part)


class EdgeUnreachable(EdgeError):
    """No whole answer came, after all tries: nobody knows whether a write took effect."""

    transient = True


class EdgeUnavailable(EdgeError):
    """The adapter answers but cannot work."""

    transient = True


class EdgeBusy(EdgeError):
    """The key or the address has had its share for now."""

    transient = True


class KeyNotAccepted(EdgeError):
    """`auth.invalid` is one answer for: no such key, revoked, expired, wrong secret, altered request."""


class NotAllowed(EdgeError):
    """The key lacks the scope or the role, or the request came from an address that is not on its list."""


class NotThere(EdgeError):
    """There is no such thing, or none that this key may know of."""


class Conflicting(EdgeError):
    """The request contradicts what is stored, such as `stock.insufficient`."""


class VersionStale(Conflicting):
    """The row has another version than the one that was expected."""


class NotValid(EdgeError):
    """The request is wrong by itself."""


class EdgeAnswerUnreadable(EdgeError):
    """The answer was larger than allowed or is not JSON."""


_BY_STATUS: Final[Mapping[int, type[EdgeError]]] = {
    401: KeyNotAccepted,
    403: NotAllowed,
    404: NotThere,
    408: EdgeBusy,
    409: Conflicting,
    410: NotThere,
    412: VersionStale,
    425: EdgeBusy,
    429: EdgeBusy,
}


_LATEST: Final = 1e12
"""Unix seconds that are still a time; not so infinity, and what no float holds."""


def from_answer(status: int, body: bytes, *, retry_after: timedelta | None, url: str = "") -> EdgeError:
    """The error that an answer of 300 and above stands for; a body of any form will do.

    One without a code is not the adapter's, most often of a wrong base URL: its detail names `url`.
    """
    told = _fields(body)
    code = str(told.get("code") or f"http.{status}")
    kind = VersionStale if code == "version.stale" else _BY_STATUS.get(status, _by_class(status))
    failures = told.get("failures")
    moment = told.get("server_time")
    return kind(
        code,
        str(told.get("detail") or ("" if told.get("code") else f"no problem document came from {url}")),
        status=status,
        hint=str(told["hint"]) if told.get("hint") else None,
        failures=[each for each in failures if isinstance(each, dict)] if isinstance(failures, list) else (),
        request_id=str(told["request_id"]) if told.get("request_id") else None,
        retry_after=retry_after,
        server_time=float(moment) if isinstance(moment, int | float) and abs(moment) < _LATEST else None,
    )


def _by_class(status: int) -> type[EdgeError]:
    if status >= 500:
        return EdgeUnavailable
    return NotValid if status >= 400 else EdgeAnswerUnreadable


def _fields(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
