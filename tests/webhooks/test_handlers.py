"""The jobs of webhooks: done, delivered twice, patient with an outage, poisoned payloads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.engine.job import NewJob
from worker.engine.ports import Handler
from worker.errors import Unreachable
from worker.gateway.client import SupabaseRpc
from worker.gateway.lanes import Delivery, Lane, Result, Secret
from worker.gateway.webhooks import ReplaySlice, RpcWebhookJobs, WebhookTest
from worker.webhooks.answer import Answer, Trouble
from worker.webhooks.attempt import Attempter, Tried
from worker.webhooks.handlers import ROUTINES, ExpireDeliveries, ForgetSecrets, ReplayEvents, SendTestEvent

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LANE = Lane(1, "e", "t", "https://example.com/", (Secret(SECRET),), False, timedelta(seconds=5), 10, 1)
TEST = Delivery(7, 1, "evt_test_1", b"{}", datetime(2026, 11, 25, tzinfo=UTC), type="product.updated")


@dataclass
class Door:
    """The database's side of all four jobs, as planned; fails first with what is in `planned`."""

    slices: list[ReplaySlice] = field(default_factory=list)
    tests: dict[int, WebhookTest] = field(default_factory=dict)
    settled: list[Result] = field(default_factory=list)
    late: int = 0
    calls: list[str] = field(default_factory=list)
    planned: list[Exception] = field(default_factory=list)

    def _called(self, name: str) -> None:
        if self.planned:
            raise self.planned.pop(0)
        self.calls.append(name)

    async def continue_replay(self, replay_id: str, *, limit: int) -> ReplaySlice:
        self._called(f"replay {replay_id}")
        done = ReplaySlice(queued=0, done=True, waiting=False, paused=False)
        return self.slices.pop(0) if self.slices else done

    async def read_test(self, delivery_id: int) -> WebhookTest | None:
        self._called("read test")
        return self.tests.get(delivery_id)

    async def settle_test(self, result: Result) -> None:
        self._called("settle test")
        self.tests.pop(result.delivery_id)
        self.settled.append(result)

    async def expire_deliveries(self, *, limit: int) -> tuple[int, bool]:
        self._called("expire")
        expired = min(limit, self.late)
        self.late -= expired
        return expired, self.late > 0

    async def forget_secrets(self) -> int:
        self._called("forget")
        return 0


class FakeSender:
    """Answers as planned, then 204."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[dict[str, str], bool]] = []

    async def send(
        self, url: str, *, headers: dict[str, str], body: str, within: timedelta, probe: bool = False
    ) -> Answer:
        self.sent.append((headers, probe))
        return self.answers.pop(0) if self.answers else Answer(0.0, status=204)


class At:
    """A clock that stands at the test's own time."""

    def now(self) -> datetime:
        return TEST.occurred_at


def trier(*answers: Answer) -> tuple[Attempter, FakeSender]:
    sender = FakeSender(*answers)
    return Attempter(sender, clock=At()), sender  # type: ignore[arg-type]  # both do what it asks of them


def trouble(what: Trouble) -> Answer:
    return Answer(0.0, trouble=what, detail="…")


def moved(**said: Any) -> ReplaySlice:
    return ReplaySlice(**{"queued": 0, "done": False, "waiting": False, "paused": False, **said})


async def test_a_replay_goes_on_slice_by_slice_and_waits_for_the_endpoint(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(slices=[moved(queued=5000), moved(waiting=True), moved(waiting=True, paused=True)])
    async with running(make_runner(ReplayEvents(door), poll=1)):
        await queue.enqueue(NewJob("webhooks.replay", {"replay_id": "r"}))
        await clock.advance(5)
        assert len(door.calls) == 3, "a paused endpoint is asked for less often"
        await clock.advance(20)
    assert door.calls == ["replay r"] * 4
    assert queue.rows == {}


async def test_a_test_is_sent_signed_and_settled_once(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(tests={7: WebhookTest(LANE, TEST)})
    attempter, sender = trier()
    async with running(make_runner(SendTestEvent(door, attempter), poll=1)):
        for _ in range(2):
            await queue.enqueue(NewJob("webhooks.test", {"delivery_id": 7}))
            await clock.advance(2)
    [(headers, probe)] = sender.sent
    assert headers["webhook-id"] == "evt_test_1"
    assert headers["webhook-signature"].startswith("v1,")
    assert probe
    assert [(each.delivery_id, each.outcome) for each in door.settled] == [(7, "delivered")]


@pytest.mark.parametrize("answer", [Answer(0.0, status=500), trouble("timeout")])
async def test_a_test_that_fails_is_settled_as_failed(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, answer: Answer
) -> None:
    door = Door(tests={7: WebhookTest(LANE, TEST)})
    attempter, _ = trier(answer)
    async with running(make_runner(SendTestEvent(door, attempter), poll=1)):
        await queue.enqueue(NewJob("webhooks.test", {"delivery_id": 7}))
        await clock.advance(2)
    assert [each.outcome for each in door.settled] == ["failed"]


async def test_a_test_that_we_could_not_send_is_still_to_be_made(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(tests={7: WebhookTest(LANE, TEST)})
    attempter, sender = trier(trouble("resolver"))
    async with running(make_runner(SendTestEvent(door, attempter), poll=1)):
        await queue.enqueue(NewJob("webhooks.test", {"delivery_id": 7}))
        await clock.advance(2)
        assert door.settled == []
        await clock.advance(10)
    assert [each.outcome for each in door.settled] == ["delivered"]
    assert len(sender.sent) == 2


async def test_what_is_late_is_ended_slice_by_slice(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock
) -> None:
    door = Door(late=12_000)
    async with running(make_runner(ExpireDeliveries(door), poll=1)):
        await queue.enqueue(NewJob("webhooks.expire", {}))
        await clock.advance(5)
    assert (door.late, door.calls) == (0, ["expire"] * 3)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("webhooks.replay", {"replay_id": "r"}),
        ("webhooks.test", {"delivery_id": 7}),
        ("webhooks.expire", {}),
        ("webhooks.forget_secrets", {}),
    ],
)
async def test_an_outage_is_waited_out_and_a_poisoned_payload_buried(
    make_runner: MakeRunner, queue: MemoryQueue, clock: ManualClock, kind: str, payload: dict[str, object]
) -> None:
    door = Door(planned=[Unreachable("away")])
    attempter, _ = trier()
    every: dict[str, Handler] = {
        "webhooks.replay": ReplayEvents(door),
        "webhooks.test": SendTestEvent(door, attempter),
        "webhooks.expire": ExpireDeliveries(door),
        "webhooks.forget_secrets": ForgetSecrets(door),
    }
    async with running(make_runner(every[kind], poll=1)):
        await queue.enqueue(NewJob(kind, payload))
        await clock.advance(20)
        assert len(door.calls) == 1
        assert queue.rows == {}
        await queue.enqueue(NewJob(kind, {**payload, "more": 1}))
        await clock.advance(2)
    assert [row.state for row in queue.rows.values()] == ["buried"]


async def test_an_expired_delivery_is_not_sent() -> None:
    attempter, sender = trier()
    late = structs.replace(TEST, expires_at=TEST.occurred_at)
    tried: Tried = await attempter.attempt(LANE, late, probe=False)
    assert tried.result is not None
    assert (tried.result.outcome, sender.sent) == ("expired", [])


async def test_a_secret_past_its_time_no_longer_signs() -> None:
    attempter, sender = trier()
    ended = Secret("whsec_" + "A" * 32, expires_at=TEST.occurred_at)
    await attempter.attempt(replace(LANE, secrets=(ended, Secret(SECRET))), TEST, probe=False)
    await attempter.attempt(replace(LANE, secrets=(Secret(SECRET),)), TEST, probe=False)
    with_both, alone = (headers["webhook-signature"] for headers, _ in sender.sent)
    assert with_both == alone
    tried = await attempter.attempt(replace(LANE, secrets=(ended,)), TEST, probe=False)
    assert (tried.answer.trouble, tried.answer.ours) == ("local", True), "unsigned it must not go"
    assert len(sender.sent) == 2


async def test_the_database_answers_in_the_promised_shapes(rpc: SupabaseRpc) -> None:
    door = RpcWebhookJobs(rpc)
    gone = await door.continue_replay("00000000-0000-0000-0000-000000000000", limit=10)
    assert gone.done
    assert await door.read_test(-1) is None
    assert (await door.expire_deliveries(limit=1))[0] >= 0
    assert await door.forget_secrets() >= 0


def test_expiry_and_secrets_are_looked_after_again_and_again() -> None:
    kinds = {routine.job.kind: routine.job.unique_key for routine in ROUTINES}
    assert kinds == {kind: kind for kind in ("webhooks.expire", "webhooks.forget_secrets")}
