"""Everything that can go wrong, as one tree; `engine/retry.py` alone turns it into outcomes.

    WorkerError
    ├── SettingsError             a setting is missing or wrong: exit 2, all problems at once
    ├── GatewayError              Supabase did not do what it was asked
    │   ├── Unreachable           no answer: refused, reset, timed out            (transient)
    │   ├── Unavailable           5xx, no database behind it, out of connections  (transient)
    │   ├── Busy                  this call met a lock, a time limit or a rate limit (transient)
    │   ├── Refused               the database says no: PT4xx, a constraint       (permanent)
    │   ├── KeyRefused            401 or 403: not the service key of this project (until fixed)
    │   ├── TokenRefused          401 or 403: not as whom the token names         (until fixed)
    │   ├── SchemaMissing         the RPC is not there: migrations, exposed schema (until fixed)
    │   └── BadAnswer             an answer too large or not of the agreed shape  (until fixed)
    ├── HostError                 the image host did not do what it was asked
    │   ├── HostBusy              a rate limit, or it still works on that object: wait (transient)
    │   ├── HostUnreachable       no answer: refused, reset, timed out            (transient)
    │   ├── HostFailing           5xx, or an answer that cannot be believed       (transient)
    │   ├── HostRefused           it says no to this picture and will say so again (permanent)
    │   └── HostUnconfigured      key, account, directory or disk of the host     (until fixed)
    ├── CacheAway                 Redis does not answer (cache/store.py)              (transient)
    ├── EdgeError                 of the edge adapter, to its clients (gateway/edge/errors.py)
    ├── SourceError               of a picture's source: SourceRefused, SourceAway (images/source.py)
    ├── Unfit, WorkshopLost       no picture that can be served; its process died (images/picture.py)
    ├── NotYours                  a copy of the data belongs to somebody else (until fixed)
    ├── PayloadError              a job's payload does not fit its handler: poison (permanent)
    ├── TimeLimitExceeded         a handler took longer than it may
    ├── Interrupted               a handler was cancelled by somebody else than us
    ├── WorkerDied                a part of the daemon ended that must not
    ├── StopOverdue               a part of the daemon did not end when it was told to
    └── DrainStuck                a drain cannot finish

"Until fixed" means that a person has to act; the worker keeps trying, loses nothing and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class WorkerError(Exception):
    """The root; `str()` of any of these is safe to show and to log."""


class SettingsError(WorkerError):
    """One or more settings are missing or wrong.

    `problems` holds one readable line each, beginning with the variable's name.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class GatewayError(WorkerError):
    """Supabase did not do what it was asked.

    `code` is the SQLSTATE or PostgREST code where there was one, `status` the HTTP status.
    """

    transient = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.status = status
        self.detail = detail
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        parts = [self.message]
        if self.code and self.code != self.message:
            parts.append(f"[{self.code}]")
        if self.detail:
            parts.append(f"- {self.detail}")
        if self.hint:
            parts.append(f"({self.hint})")
        return " ".join(parts)


class Unreachable(GatewayError):
    """No answer came: nobody knows whether the call took effect."""

    transient = True


class Unavailable(GatewayError):
    """The platform answers but cannot work: 5xx, no database behind it, no connection left."""

    transient = True


class Busy(GatewayError):
    """This one call met a deadlock, a statement time-out or a rate limit; the platform is fine."""

    transient = True


class Refused(GatewayError):
    """The database said no and will say so again. `message` is the stable code, e.g. `stock.insufficient`."""


class KeyRefused(GatewayError):
    """The key is not accepted, or lacks the right."""


class TokenRefused(GatewayError):
    """A token to act for somebody is not accepted."""

    @classmethod
    def instead_of(cls, error: KeyRefused, *, hint: str) -> TokenRefused:
        return cls(error.message, code=error.code, status=error.status, detail=error.detail, hint=hint)


class SchemaMissing(GatewayError):
    """The database lacks the function, or PostgREST does not expose its schema."""


class BadAnswer(GatewayError):
    """The answer was larger than allowed or not of the agreed shape."""


class HostError(WorkerError):
    """The image host did not do what it was asked. `status`: the HTTP status where there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.message = message
        self.status = status
        super().__init__(message)


class HostBusy(HostError):
    """Ask again later. `retry_after`: when the host says so, `None` where it does not."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: timedelta | None = None
    ) -> None:
        self.retry_after = retry_after
        super().__init__(message, status=status)


class HostUnreachable(HostError):
    """No whole answer came: nobody knows whether the call took effect."""


class HostFailing(HostError):
    """The host answers, but cannot work, or says what cannot be believed."""


class HostRefused(HostError):
    """The host says no to this object and will say so again. `code` is ours, `detail` the host's words."""

    def __init__(self, code: str, detail: str, *, status: int | None = None) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}", status=status)


class HostUnconfigured(HostError):
    """The key, the account, the directory or the disk is not as it must be."""


class NotYours(WorkerError):
    """A copy of a tenant's rows, with its queue of edits, was opened for another user, tenant or project."""


class PayloadError(WorkerError):
    """A job's payload does not fit its handler's model."""


class TimeLimitExceeded(WorkerError):
    """A handler ran longer than its time limit."""


class Interrupted(WorkerError):
    """A handler ended with a cancellation that was not ours: of a task or a future that it waited for."""


class WorkerDied(WorkerError):
    """A part of the daemon ended that has to live as long as the worker."""


class StopOverdue(WorkerError):
    """A part of the daemon did not end when it was told to; what it held comes back with its leases."""


class DrainStuck(WorkerError):
    """A drain ended before everything was done; the message says what is left."""
