"""One attempt from a delivery to its verdict: sign, send, judge."""

from __future__ import annotations

import random
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct

from worker.engine.clock import Clock
from worker.gateway.lanes import Delivery, Lane, Outcome, Result
from worker.webhooks.answer import Answer
from worker.webhooks.sender import Sender
from worker.webhooks.signing import Key, parse_key, sign
from worker.webhooks.verdict import Keep, Settle, judge

MAX_KEYS: Final = 10_000
EXPIRED: Final = Settle("expired", "expired: it could not be delivered in its time")
NO_TIME: Final = timedelta(0)


class Settled(Struct, gc=False):
    """An attempt that counts: what is to be written back."""

    answer: Answer
    verdict: Settle
    result: Result


class Kept(Struct, gc=False):
    """An attempt that does not count. `result`: what is to be noted of it all the same; None if the fault
    was our own."""

    answer: Answer
    verdict: Keep
    result: Result | None = None


Tried = Settled | Kept


class Trier(Protocol):
    """Makes one attempt; raises nothing that the network or the endpoint's settings can cause."""

    async def attempt(self, lane: Lane, delivery: Delivery, *, probe: bool) -> Tried: ...


class Attempter:
    """The `Trier` of production."""

    def __init__(self, sender: Sender, *, clock: Clock, chance: random.Random | None = None) -> None:
        self._sender, self._clock = sender, clock
        self._chance = chance or random.Random()  # noqa: S311 - it only spreads retries
        self._keys: OrderedDict[str, Key] = OrderedDict()

    async def attempt(self, lane: Lane, delivery: Delivery, *, probe: bool) -> Tried:
        """`probe`: the lane is parked, and a failure is not to be charged."""
        started_at = self._clock.now()
        left = lane.expiry_of(delivery) - started_at
        if left <= NO_TIME:
            return _settled(lane, delivery, started_at, Answer(0.0), EXPIRED)
        try:
            signed = self._signed(lane, delivery, started_at)
        except ValueError as error:
            # we made the secret, so the fault is ours, and unsigned it must not go
            answer = Answer(0.0, trouble="local", detail=str(error))
        else:
            answer = await self._sender.send(
                lane.url, headers=signed, body=delivery.body, within=lane.timeout, probe=probe
            )
        verdict = judge(answer, attempt=delivery.attempt, left=left, probe=probe, dice=self._chance.random())
        if isinstance(verdict, Settle):
            return _settled(lane, delivery, started_at, answer, verdict)
        result = None
        if verdict.error is not None:
            result = _result(lane, delivery, started_at, answer, outcome="probe", error=verdict.error)
        return Kept(answer, verdict, result)

    def _signed(self, lane: Lane, delivery: Delivery, now: datetime) -> dict[str, str]:
        """The headers of the attempt. Raises `ValueError` when there is nothing to sign with."""
        keys = [self._key(s.text) for s in lane.secrets if s.expires_at is None or now < s.expires_at]
        signed = sign(keys, message_id=delivery.event_id, timestamp=int(now.timestamp()), body=delivery.body)
        return {**lane.headers, **signed} if lane.headers else signed

    def _key(self, secret: str) -> Key:
        key = self._keys.get(secret)
        if key is None:
            key = self._keys[secret] = parse_key(secret)
            while len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        return key


def _settled(
    lane: Lane, delivery: Delivery, started_at: datetime, answer: Answer, verdict: Settle
) -> Settled:
    result = _result(lane, delivery, started_at, answer, outcome=verdict.outcome, error=verdict.error)
    if verdict.retry_in is not None:
        result.retry_in_seconds = verdict.retry_in.total_seconds()
        result.expires_at = lane.expiry_of(delivery)
    return Settled(answer, verdict, result)


def _result(
    lane: Lane,
    delivery: Delivery,
    started_at: datetime,
    answer: Answer,
    *,
    outcome: Outcome,
    error: str | None,
) -> Result:
    dns, connect, first_byte = answer.timings
    result = Result(
        delivery.delivery_id,
        delivery.lane_id,
        delivery.attempt,
        delivery.event_id,
        delivery.type,
        outcome,
        started_at,
        _milliseconds(answer.seconds),
        answer.status,
        None if first_byte is None else _milliseconds(first_byte),
        answer.head,
        None if connect is None else _milliseconds(connect),
        None if dns is None else _milliseconds(dns),
        error,
    )
    if lane.ordered:
        result.order_key = delivery.order_key
    return result


def _milliseconds(seconds: float) -> float:
    """To a tenth; `round` would take four times as long."""
    return int(seconds * 10_000 + 0.5) / 10


def lined_up(lane: Lane, delivery: Delivery, now: datetime) -> Result:
    """What is written back for a first attempt that lines up behind a retry of its entity, untried."""
    result = _result(lane, delivery, now, Answer(0.0), outcome="blocked", error=None)
    result.expires_at = lane.expiry_of(delivery)
    return result
