"""One job, one outcome: the payload is checked, the handler called, and whatever it raises is judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import structlog
from pydantic import BaseModel, ValidationError

from worker.engine.job import Bury, Job, Outcome, RawPayload
from worker.engine.ports import Handler
from worker.engine.retry import describe, outcome_of
from worker.errors import Interrupted, PayloadError, TimeLimitExceeded
from worker.log import JOB_FAILED, Logger, get_logger

TIME_LIMIT: Final = timedelta(minutes=10)


class Executor:
    """Runs jobs of the kinds it was given handlers for."""

    def __init__(
        self,
        handlers: Iterable[Handler],
        *,
        time_limit: timedelta = TIME_LIMIT,
        chance: random.Random | None = None,
    ) -> None:
        self._handlers: Mapping[str, Handler] = _by_kind(handlers)
        self._time_limit = time_limit
        self._chance = chance or random.Random()  # noqa: S311 - jitter
        self._log: Logger = get_logger("worker.jobs")

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(self._handlers)

    async def execute(self, job: Job[RawPayload]) -> Outcome:
        """What became of `job`. Raises nothing but `CancelledError`."""
        with structlog.contextvars.bound_contextvars(
            job_id=job.job_id, kind=job.kind, attempt=job.attempt, tenant_id=job.tenant_id
        ):
            try:
                return await self._call(job)
            except Exception as error:  # the one place where every failure of a handler ends
                outcome = outcome_of(
                    error, attempt=job.attempt, max_attempts=job.max_attempts, chance=self._chance
                )
                self._log.warning(
                    JOB_FAILED,
                    error=describe(error),
                    outcome=type(outcome).__name__.lower(),
                    exc_info=error if isinstance(outcome, Bury) else None,
                )
                return outcome

    async def _call(self, job: Job[RawPayload]) -> Outcome:
        handler = self._handlers.get(job.kind)
        if handler is None:
            raise PayloadError(f"no handler for kind {job.kind!r}")
        payload = _parse(handler.Payload, job.payload)
        try:
            async with asyncio.timeout(self._time_limit.total_seconds()) as limit:
                return await handler(job.with_payload(payload))
        except TimeoutError:
            if limit.expired():
                raise TimeLimitExceeded(f"{job.kind} ran longer than {self._time_limit}") from None
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # nobody cancelled us: as a release it would cost nothing and come back at once, for ever
            raise Interrupted(f"{job.kind} waited for something that was cancelled") from error


def _by_kind(handlers: Iterable[Handler]) -> dict[str, Handler]:
    found: dict[str, Handler] = {}
    for handler in handlers:
        if handler.kind in found:
            raise ValueError(f"two handlers for kind {handler.kind!r}")
        found[handler.kind] = handler
    return found


def _parse(model: type[BaseModel], payload: RawPayload) -> BaseModel:
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise PayloadError(problems) from None
