"""What may be wrong with the source of a picture. `code` is stable; `detail` is for people."""

from __future__ import annotations

from datetime import timedelta

from worker.errors import WorkerError


class SourceError(WorkerError):
    """A source did not give its picture."""

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(f"{code}: {detail}")


class SourceRefused(SourceError):
    """It will not be given, today or tomorrow, unless somebody changes something."""


class SourceAway(SourceError):
    """It may be given later. `retry_after`: as the source asked."""

    def __init__(self, code: str, detail: str, retry_after: timedelta | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after
