"""Broadcasts, where the recordings cannot be played: see the table in `test_transcripts.py`."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.contract.realtime.conftest import Bench, Connect
from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.talk import join, next_payload
from tests.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

SEND = "select realtime.send(jsonb_build_object('n', %s::int), 'ring', %s, true)"
SEND_MANY = (
    "select realtime.send(jsonb_build_object('n', n), 'ring', %s, true) from generate_series(1, %s::int) n"
)
Database = AsyncConnection[Any]
_numbers = itertools.count(1)


@pytest.mark.parametrize(("size", "arrives"), [(2_900_000, True), (3_000_400, True), (3_000_600, False)])
@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_payloads_over_the_limit_are_lost_without_a_word(
    server: ServerProcess, connect: Connect, database: Database, size: int, arrives: bool, vsn: str
) -> None:
    socket = await connect(server, vsn=vsn)
    await join(socket, "large", private=True)
    await database.execute(
        "select realtime.send(jsonb_build_object('b', repeat('y', %s)), 'ring', 'large', true)", [size]
    )
    await database.execute(SEND, [2, "large"])
    frames = [await socket.next_of("realtime:large") for _ in range(2 if arrives else 1)]
    bodies = [frame["payload"] if "binary" in frame else frame["payload"]["payload"] for frame in frames]
    assert bodies[-1]["n"] == "2"
    assert [len(body["b"]) for body in bodies[:-1]] == ([size] if arrives else [])


async def test_broadcasts_come_at_commit_and_in_commit_order(
    server: ServerProcess, bench: Bench, connect: Connect, database: Database
) -> None:
    socket = await connect(server)
    await join(socket, "tx", private=True)
    async with database.transaction(force_rollback=True):
        await database.execute(SEND, [1, "tx"])
    async with database.transaction():
        await database.execute(SEND, [2, "tx"])
        async with database.transaction(force_rollback=True):
            await database.execute(SEND, [3, "tx"])
        await database.execute(SEND, [4, "tx"])
    async with await AsyncConnection.connect(bench.url) as slow:
        await slow.execute(SEND, [5, "tx"])
        await database.execute(SEND, [6, "tx"])
        await slow.commit()
    numbers = [(await next_payload(socket, "tx"))["payload"]["n"] for _ in range(4)]
    assert numbers == ["2", "4", "6", "5"]


async def test_many_broadcasts_of_one_transaction_arrive_complete_and_in_order(
    server: ServerProcess, connect: Connect, database: Database
) -> None:
    socket = await connect(server)
    await join(socket, "bulk", private=True)
    await database.execute(SEND_MANY, ["bulk", 1000])
    numbers = [int((await next_payload(socket, "bulk"))["payload"]["n"]) for _ in range(1000)]
    assert numbers == list(range(1, 1001))


async def test_broadcast_takes_a_few_milliseconds_from_commit(
    server: ServerProcess, connect: Connect, database: Database
) -> None:
    """The real server: 1 ms (p50), 3 ms (p99). The bound leaves room for a busy machine."""
    socket = await connect(server)
    await join(socket, "quick", private=True)
    took = []
    for number in range(50):
        await database.execute(SEND, [number, "quick"])
        committed = time.perf_counter()
        await socket.next_of("realtime:quick")
        took.append(time.perf_counter() - committed)
    assert statistics.median(took) < 0.02


async def test_replay_closes_the_gap_of_a_reconnection(
    server: ServerProcess, connect: Connect, database: Database
) -> None:
    first = await connect(server)
    await join(first, "gap", private=True)
    await database.execute(
        "insert into realtime.messages (topic, extension, event, payload, private, inserted_at)"
        " values ('gap', 'broadcast', 'ring', '{\"n\": 1}', true, now() - interval '2 seconds')"
    )
    await first.next_of("realtime:gap")
    await first.close()
    since = int((time.time() - 1) * 1000)
    for number in (2, 3, 4):
        await database.execute(SEND, [number, "gap"])
    second = await connect(server)
    await join(second, "gap", private=True, broadcast={"replay": {"since": since, "limit": 25}})
    await database.execute(SEND, [5, "gap"])
    payloads = [await next_payload(second, "gap") for _ in range(4)]
    assert [payload["payload"]["n"] for payload in payloads] == ["2", "3", "4", "5"]
    assert [payload["meta"].get("replayed") for payload in payloads] == [True, True, True, None]


async def test_replication_ready_is_said_when_the_stream_is_up(
    server: ServerProcess, connect: Connect
) -> None:
    socket = await connect(server)
    await join(socket, "rr", private=True, broadcast={"replication_ready": True})
    assert await next_payload(socket, "rr") == {
        "message": "Replication connection established",
        "status": "ok",
        "extension": "system",
        "channel": "rr",
    }


async def test_over_the_rate_everything_is_dropped_silently_until_the_average_falls(
    bench: Bench, connect: Connect, database: Database
) -> None:
    with bench.server(MAX_EVENTS_PER_SECOND="20", RATE_TICK_MS="200") as server:
        socket = await connect(server)
        await join(socket, "flood", private=True)
        await database.execute(SEND_MANY, ["flood", 90])
        for _ in range(90):
            await next_payload(socket, "flood")

        async def heard() -> bool:
            await database.execute(SEND, [next(_numbers), "flood"])
            try:
                return bool(await next_payload(socket, "flood", seconds=0.1))
            except TimeoutError:
                return False

        async def deaf() -> bool:
            return not await heard()

        await eventually(deaf)
        await eventually(heard)
        await socket.settle()
        assert socket.unexpected() == []


async def test_binary_broadcasts_of_clients_reach_both_framings(
    server: ServerProcess, connect: Connect
) -> None:
    """supabase-js speaks vsn 2 and sends its broadcasts as binary frames of kind 3."""
    sender, second, first = [await connect(server, vsn=vsn) for vsn in ("2.0.0", "2.0.0", "1.0.0")]
    for socket in (sender, second, first):
        await join(socket, "bin", broadcast={"ack": True})
    parts = [b"1", b"9", b"realtime:bin", b"msg", b""]
    head = bytes([3, *map(len, parts), 1]) + b"".join(parts)
    await sender.send_bytes(head + json.dumps({"hi": "é"}).encode())
    assert (await sender.next_of("realtime:bin"))[3] == "phx_reply"
    heard = await second.next_of("realtime:bin")
    assert heard["binary"] == ["realtime:bin", "msg", "1"]
    assert heard["payload"] == {"hi": "é"}
    assert await next_payload(first, "bin") == {"event": "msg", "payload": {"hi": "é"}, "type": "broadcast"}
