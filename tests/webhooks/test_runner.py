from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from tests.eventually import eventually
from tests.webhooks.memory_lanes import SECRET, Database, MemoryLanes
from tests.webhooks.receiver import Receiver, receiving
from worker.engine.clock import SystemClock
from worker.wall import SystemResolver, Wall
from worker.webhooks.attempt import Attempter
from worker.webhooks.clients import PinnedClients
from worker.webhooks.runner import WebhookRunner
from worker.webhooks.sender import Sender


def make_runner(store: MemoryLanes, *, slots: int = 50, lease: float = 30.0) -> WebhookRunner:
    clock = SystemClock()
    wall = Wall(SystemResolver(), allow=[ip_network("127.0.0.0/8")])
    sender = Sender(PinnedClients(wall, clock=clock), clock=clock)
    return WebhookRunner(
        store,
        Attempter(sender, clock=clock),
        clock=clock,
        poll=timedelta(milliseconds=200),
        lease=timedelta(seconds=lease),
        slots=slots,
    )


@asynccontextmanager
async def running(runner: WebhookRunner, *, drain: float = 2.0) -> AsyncIterator[WebhookRunner]:
    task = asyncio.create_task(runner.run())
    try:
        yield runner
        await runner.drain(timedelta(seconds=drain))
        await asyncio.wait_for(task, 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
def database() -> Database:
    return Database(now=time.monotonic)


async def test_a_delivery_arrives_signed_and_is_settled(receiver: Receiver, database: Database) -> None:
    lane = database.endpoint(receiver.url("/a"))
    async with running(make_runner(MemoryLanes(database))) as runner:
        await eventually(lambda: runner.stats()["lanes"] == 1)
        database.dispatch(lane)
        runner.wake("deliveries")
        await eventually(lambda: database.settled("delivered") == [1])
    [message] = receiver.received
    assert Webhook(SECRET).verify(message.body, message.headers) == {"test": 1}
    assert message.headers["user-agent"] == "pms-webhooks/1"
    assert message.headers["content-type"] == "application/json"
    assert database.attempts[0].status == 204
    assert not database.held, "the lanes are free once the worker has stopped"
