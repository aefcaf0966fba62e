"""The supervisor against everything that makes the plain client go deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import psycopg
import pytest
import structlog
from realtime import AsyncRealtimeClient, BroadcastPayload

from tests.eventually import eventually
from tests.gateway.double import Manner, RealtimeDouble
from tests.stack.platform import Platform
from worker.engine.clock import SystemClock
from worker.engine.wake import LANES, Bell
from worker.gateway.channel import Channel
from worker.gateway.realtime import TOPIC, RealtimeRules, RealtimeSupervisor

# the client's own use of websockets; as an error it would kill the listener, which production never sees
pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")
MS = timedelta(milliseconds=1)
IMPATIENT = RealtimeRules(
    open_within=1_000 * MS,
    ready_within=2_000 * MS,
    heartbeat_every=50 * MS,
    heartbeat_within=200 * MS,
    first_pause=10 * MS,
    longest_pause=50 * MS,
)
KEY = "sb_secret_x"


@asynccontextmanager
async def supervised(
    url: str, *, key: str = KEY, rules: RealtimeRules = IMPATIENT, hear: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[RealtimeSupervisor, list[str]]]:
    bell, heard = Bell(), list[str]()
    bell.attach(heard.append)
    if hear is not None:
        bell.attach(hear)
    supervisor = RealtimeSupervisor(
        open_channel=partial(Channel.open, url, key, TOPIC),
        hear=bell.heard,
        clock=SystemClock(),
        rules=rules,
    )
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, heard
        assert not task.done(), "the supervisor must outlive everything"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def live(supervisor: RealtimeSupervisor) -> None:
    await eventually(lambda: supervisor.state == "live", what="live")


async def lost(supervisor: RealtimeSupervisor) -> None:
    await eventually(lambda: supervisor.state == "connecting", what="lost")


async def test_it_becomes_live_rings_once_for_all_lanes_and_then_as_told(double: RealtimeDouble) -> None:
    async with supervised(double.url) as (supervisor, heard):
        assert supervisor.state == "connecting"
        await live(supervisor)
        assert supervisor.reason is None
        assert set(heard) == set(LANES)
        heard.clear()
        await double.ring({"lane": "jobs"})
        await double.ring({"lane": "outbox", "id": "x"})
        await eventually(lambda: heard == ["jobs", "outbox"])
        heard.clear()
        await double.ring({"lane": "from a later schema"})
        await double.ring({})
        await eventually(lambda: heard == [*LANES, *LANES])


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_a_closed_connection_is_replaced(double: RealtimeDouble, code: int) -> None:
    async with supervised(double.url) as (supervisor, heard):
        await live(supervisor)
        heard.clear()
        await double.drop(code)
        await eventually(lambda: supervisor.connections == 2)
        await live(supervisor)
        # what was rung meanwhile is unknown: look everywhere
        await eventually(lambda: set(heard) == set(LANES))
        heard.clear()
        await double.ring({"lane": "outbox"})
        await eventually(lambda: heard == ["outbox"])


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("phx_close", {}),
        ("phx_error", {"reason": "channel_crash"}),
        (
            "system",
            {
                "message": "Token has expired 0 seconds ago",
                "status": "error",
                "extension": "system",
                "channel": "worker",
            },
        ),
    ],
    ids=["close", "error", "system error"],
)
async def test_a_channel_that_fails_is_replaced(
    double: RealtimeDouble, event: str, payload: dict[str, str]
) -> None:
    async with supervised(double.url) as (supervisor, heard):
        await live(supervisor)
        await double.push(event, payload, ref=None if event == "system" else "1")
        await eventually(lambda: supervisor.connections >= 2)
        await live(supervisor)
        heard.clear()
        await double.ring({"lane": "outbox"})
        await eventually(lambda: "outbox" in heard)


async def test_a_server_that_goes_mute_is_noticed_by_the_heartbeat(double: RealtimeDouble) -> None:
    double.manner = "mute after join"
    async with supervised(double.url) as (supervisor, _):
        await eventually(lambda: "heartbeat" in (supervisor.reason or ""))
        double.manner = "well"
        await live(supervisor)


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("silent join", "no connection and join in time"),
        ("refuses join", "do not have permissions"),
        ("closes at join", "channel_error"),
    ],
)
async def test_a_join_that_fails_is_tried_again_without_end(
    double: RealtimeDouble, manner: Manner, said: str
) -> None:
    double.manner = manner
    with structlog.testing.capture_logs() as logs:
        async with supervised(double.url) as (supervisor, _):
            await eventually(lambda: supervisor.connections >= 5)
            assert said in (supervisor.reason or "")
            double.manner = "well"
            await live(supervisor)
    told = [line["event"] for line in logs]
    assert told.count("realtime.lost") == 1, "an outage is one line"
    assert told.count("realtime.live") == 1


async def test_it_is_not_live_before_changes_flow_but_hears_rings_already(double: RealtimeDouble) -> None:
    double.manner = "never ready"
    async with supervised(double.url) as (supervisor, heard):
        await eventually(lambda: double.joined)
        assert supervisor.state == "connecting"
        await double.ring({"lane": "jobs"})
        await eventually(lambda: "jobs" in heard)
        # a ring proves that changes flow
        await live(supervisor)


async def test_switched_off_it_says_so_and_stays_quiet() -> None:
    supervisor = RealtimeSupervisor(
        open_channel=None, hear=Bell().heard, clock=SystemClock(), rules=IMPATIENT
    )
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0)
    assert (supervisor.state, supervisor.reason, task.done()) == ("off", None, False)
    task.cancel()


# -- the plain client goes deaf where the supervisor does not ------------------------------------------------


@asynccontextmanager
async def naive(url: str, hear: Callable[[BroadcastPayload], None]) -> AsyncIterator[AsyncRealtimeClient]:
    """The client as its documentation uses it, only less patient: five tries in about 0.15 s."""
    client = AsyncRealtimeClient(url, token=KEY, initial_backoff=0.005)
    channel = client.channel(TOPIC, {"config": {"broadcast": None, "presence": None, "private": True}})
    await channel.on_broadcast("ring", hear).subscribe()
    try:
        yield client
    finally:
        await client.close()


def listening(client: AsyncRealtimeClient) -> bool:
    return client._listen_task is not None and not client._listen_task.done()


async def test_an_outage_longer_than_five_tries(double: RealtimeDouble) -> None:
    rung: list[BroadcastPayload] = []
    async with naive(double.url, rung.append) as client, supervised(double.url) as (supervisor, heard):
        await live(supervisor)
        await double.stop()
        await lost(supervisor)
        await eventually(lambda: not listening(client), what="the naive client gave up")
        tries = supervisor.connections
        await eventually(lambda: supervisor.connections > tries + 6)
        await double.start()
        await live(supervisor)
        heard.clear()
        await double.ring({"lane": "outbox"})
        await eventually(lambda: heard == ["outbox"])
        assert rung == [], "the naive client is deaf for good"
        assert len(double.joined) == 1


async def test_an_exception_in_a_callback(double: RealtimeDouble) -> None:
    rung: list[BroadcastPayload] = []

    def fail_once(message: BroadcastPayload) -> None:
        rung.append(message)
        if len(rung) == 1:
            raise RuntimeError("a bug in a callback")

    failures = iter([True])

    def fail_once_too(lane: str) -> None:
        if lane == "outbox" and supervised_is_live and next(failures, False):
            raise RuntimeError("a bug in a callback")

    supervised_is_live = False
    async with (
        naive(double.url, fail_once) as client,
        supervised(double.url, hear=fail_once_too) as (supervisor, heard),
    ):
        await live(supervisor)
        supervised_is_live = True
        await double.ring({"lane": "outbox"})
        await eventually(lambda: not listening(client), what="the naive client's listener died")
        assert client.is_connected, "and it does not even know"
        await eventually(lambda: supervisor.connections == 2)
        await live(supervisor)
        heard.clear()
        await double.ring({"lane": "outbox"})
        await eventually(lambda: heard == ["outbox"])
        assert len(rung) == 1, "the naive client is deaf for good"


# -- the real protocol ---------------------------------------------------------------------------------------


@pytest.mark.own_platform
async def test_a_restart_of_the_realtime_server(make_platform: Callable[..., Platform]) -> None:
    platform = await asyncio.to_thread(make_platform, with_functions=False)
    url, key = f"{platform.api_url}/realtime/v1", platform.addresses.secret_key
    rules = RealtimeRules(first_pause=50 * MS, longest_pause=300 * MS, heartbeat_every=500 * MS)
    async with (
        await psycopg.AsyncConnection.connect(platform.admin_db_url, autocommit=True) as writer,
        supervised(url, key=key, rules=rules) as (supervisor, heard),
    ):

        async def ring() -> None:
            await writer.execute("""select realtime.send('{"lane":"deliveries"}', 'ring', 'worker', true)""")

        await eventually(lambda: supervisor.state == "live", 30)
        heard.clear()
        await ring()
        await eventually(lambda: heard == ["deliveries"])
        await asyncio.to_thread(platform.realtime.kill)
        await eventually(lambda: supervisor.state == "connecting", 20)
        await ring()  # nobody hears it
        tries = supervisor.connections
        await eventually(lambda: supervisor.connections > tries + 5, 30)
        heard.clear()
        await asyncio.to_thread(platform.realtime.start)
        await eventually(lambda: supervisor.state == "live", 30)
        assert set(heard) >= set(LANES), "what was rung meanwhile is looked for"
        heard.clear()
        await ring()
        await eventually(lambda: heard == ["deliveries"])
