"""The jobs of webhooks: replays in slices, tests, expiry; and how often they are queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from worker.engine.job import Done, Job, NewJob, Outcome, Snooze
from worker.engine.upkeep import Routine
from worker.gateway.lanes import Result
from worker.gateway.webhooks import ReplaySlice, WebhookTest
from worker.log import get_logger
from worker.webhooks.attempt import Trier

REPLAY_SLICE: Final = 5000
REPLAY_PAUSE: Final = timedelta(milliseconds=500)
PAUSED_PAUSE: Final = timedelta(seconds=15)
EXPIRY_SLICE: Final = 5000


class Replays(Protocol):
    async def continue_replay(self, replay_id: str, *, limit: int) -> ReplaySlice: ...


class Tests(Protocol):
    async def read_test(self, delivery_id: int) -> WebhookTest | None: ...
    async def settle_test(self, result: Result) -> None: ...


class Leftovers(Protocol):
    async def expire_deliveries(self, *, limit: int) -> tuple[int, bool]: ...
    async def forget_secrets(self) -> int: ...


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplayPayload(_Payload):
    replay_id: str


class TestPayload(_Payload):
    delivery_id: int


@dataclass(frozen=True, slots=True)
class ReplayEvents:
    """Queues a replay, a slice at a time. Harmless twice: each slice moves the replay's own mark with it."""

    replays: Replays
    kind: ClassVar[str] = "webhooks.replay"
    Payload: ClassVar[type[ReplayPayload]] = ReplayPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: ReplayPayload = job.payload
        moved = await self.replays.continue_replay(payload.replay_id, limit=REPLAY_SLICE)
        if moved.done:
            get_logger("worker.webhooks").info("webhooks.replayed", replay=payload.replay_id)
            return Done()
        return Snooze(PAUSED_PAUSE if moved.paused else REPLAY_PAUSE if moved.waiting else timedelta(0))


@dataclass(frozen=True, slots=True)
class SendTestEvent:
    """Sends a test once, past the endpoint's queue. Harmless twice: a test that is settled is gone, and one
    that was sent but not settled is sent again under the same id."""

    tests: Tests
    trier: Trier
    kind: ClassVar[str] = "webhooks.test"
    Payload: ClassVar[type[TestPayload]] = TestPayload

    async def __call__(self, job: Job[Any]) -> Outcome:
        payload: TestPayload = job.payload
        test = await self.tests.read_test(payload.delivery_id)
        if test is None:
            return Done()
        tried = await self.trier.attempt(test.lane, test.delivery, probe=True)
        if tried.result is None:
            # nothing that the endpoint did: the test is still to be made
            return Snooze(timedelta(seconds=5), reason=tried.answer.detail)
        delivered = tried.result.outcome == "delivered"
        await self.tests.settle_test(tried.result if delivered else replace(tried.result, outcome="failed"))
        return Done()


@dataclass(frozen=True, slots=True)
class ExpireDeliveries:
    """Ends what could not be delivered in its time. Harmless twice: the second finds none."""

    leftovers: Leftovers
    kind: ClassVar[str] = "webhooks.expire"
    Payload: ClassVar[type[_Payload]] = _Payload

    async def __call__(self, job: Job[Any]) -> Outcome:
        expired, more = await self.leftovers.expire_deliveries(limit=EXPIRY_SLICE)
        if expired:
            get_logger("worker.webhooks").warning("webhooks.expired", deliveries=expired)
        return Snooze(timedelta(0)) if more else Done()


@dataclass(frozen=True, slots=True)
class ForgetSecrets:
    """Forgets signing secrets whose time is over. Harmless twice: the second finds none."""

    leftovers: Leftovers
    kind: ClassVar[str] = "webhooks.forget_secrets"
    Payload: ClassVar[type[_Payload]] = _Payload

    async def __call__(self, job: Job[Any]) -> Outcome:
        if forgotten := await self.leftovers.forget_secrets():
            get_logger("worker.webhooks").info("webhooks.secrets_forgotten", secrets=forgotten)
        return Done()


ROUTINES: Sequence[Routine] = (
    Routine(NewJob(ExpireDeliveries.kind, {}, unique_key=ExpireDeliveries.kind), every=timedelta(minutes=1)),
    Routine(NewJob(ForgetSecrets.kind, {}, unique_key=ForgetSecrets.kind), every=timedelta(hours=1)),
)
