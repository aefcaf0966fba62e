"""A thing that holds or does not, said in the log once per change and asked by /readyz."""

from __future__ import annotations

import logging
from typing import Final

from worker.engine.clock import Clock
from worker.engine.retry import describe
from worker.errors import GatewayError
from worker.log import Logger, get_logger

_UNKNOWN: Final = "has not answered yet"


class Condition:
    """`reason` is None while it holds; at the start it is unknown, which counts as not holding."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        lost: str,
        back: str,
        told_elsewhere: tuple[type[Exception], ...] = (),
    ) -> None:
        """`lost` and `back` name the log events. Failures in `told_elsewhere` are logged by another
        condition already, so that an outage is one line and not one of each part.
        """
        self.name = name
        self.reason: str | None = _UNKNOWN
        self.since = clock.monotonic()
        self._clock = clock
        self._lost, self._back = lost, back
        self._told_elsewhere = told_elsewhere
        self._fault: str | None = None
        self._told = True
        self._log: Logger = get_logger("worker.engine").bind(what=name)

    @property
    def holds(self) -> bool:
        return self.reason is None

    @property
    def known(self) -> bool:
        return self.reason is not _UNKNOWN

    def ok(self) -> None:
        if self.reason is None:
            return
        down = self._clock.monotonic() - self.since
        first_and_expected = not self.known and bool(self._told_elsewhere)
        level = logging.INFO if self._told and not first_and_expected else logging.DEBUG
        self._log.log(level, self._back, after_seconds=round(down, 1))
        self.reason, self._fault, self.since = None, None, self._clock.monotonic()

    def failed(self, error: Exception) -> None:
        """Notes a failure; a warning only when it is new in kind, so that an outage is one line."""
        # an outage changes its face as it goes: refused, 503, time-out
        transient = isinstance(error, GatewayError) and error.transient
        fault = "transient" if transient else type(error).__name__
        self.reason = describe(error)
        if fault == self._fault:
            return
        if self._fault is None:
            self.since = self._clock.monotonic()
        self._fault = fault
        self._told = not isinstance(error, self._told_elsewhere)
        self._log.log(logging.WARNING if self._told else logging.DEBUG, self._lost, error=self.reason)
