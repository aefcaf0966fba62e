"""One attempt from a delivery to its verdict: sign, send, judge."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from worker.engine.clock import Clock
from worker.gateway.lanes import Delivery, Lane, Result
from worker.webhooks.answer import Answer
from worker.webhooks.sender import Sender
from worker.webhooks.signing import BadSecretError, Key, parse_key, sign
from worker.webhooks.verdict import Keep, Settle, judge

MAX_KEYRINGS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that counts: what is to be written back."""

    answer: Answer
    verdict: Settle
    result: Result


@dataclass(frozen=True, slots=True)
class Kept:
    """An attempt that does not count."""

    answer: Answer
    verdict: Keep


Tried = Settled | Kept


class Trier(Protocol):
    """Makes one attempt; raises nothing that the network or the endpoint's settings can cause."""

    async def attempt(self, lane: Lane, delivery: Delivery, *, probe: bool) -> Tried: ...


class Attempter:
    """The `Trier` of production."""

    def __init__(self, sender: Sender, *, clock: Clock, chance: random.Random | None = None) -> None:
        self._sender, self._clock = sender, clock
        self._chance = chance or random.Random()  # noqa: S311 - it only spreads retries
        self._keyrings: OrderedDict[tuple[str, ...], tuple[Key, ...]] = OrderedDict()

    async def attempt(self, lane: Lane, delivery: Delivery, *, probe: bool) -> Tried:
        """`probe`: the lane is parked, and a failure is not to be charged."""
        started_at = self._clock.now()
        answer = await self._send(lane, delivery, timestamp=int(started_at.timestamp()))
        verdict = judge(
            answer,
            attempt=delivery.attempt,
            age=started_at - delivery.occurred_at,
            probe=probe,
            dice=self._chance.random(),
        )
        if isinstance(verdict, Keep):
            return Kept(answer, verdict)
        return Settled(
            answer,
            verdict,
            Result(
                delivery_id=delivery.delivery_id,
                lane_id=lane.lane_id,
                attempt=delivery.attempt,
                outcome=verdict.outcome,
                started_at=started_at,
                duration=answer.duration,
                status=answer.status,
                error=verdict.error,
                response=answer.head,
                retry_in=verdict.retry_in,
            ),
        )

    async def _send(self, lane: Lane, delivery: Delivery, *, timestamp: int) -> Answer:
        try:
            keys = self._keys(lane.secrets)
        except BadSecretError as error:
            # we made the secret, so the fault is ours, and unsigned it must not go
            return Answer(duration=timedelta(0), trouble="local", detail=str(error))
        headers = sign(keys, message_id=delivery.event_id, timestamp=timestamp, body=delivery.body)
        return await self._sender.send(lane.url, headers=headers, body=delivery.body, within=lane.timeout)

    def _keys(self, secrets: tuple[str, ...]) -> tuple[Key, ...]:
        keys = self._keyrings.get(secrets)
        if keys is None:
            if not secrets:
                raise BadSecretError("the endpoint has no secret to sign with")
            keys = self._keyrings[secrets] = tuple([parse_key(secret) for secret in secrets])
            while len(self._keyrings) > MAX_KEYRINGS:
                self._keyrings.popitem(last=False)
        return keys
