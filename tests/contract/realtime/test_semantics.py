"""Sockets, channels and changes, where the recordings cannot be played: see `test_transcripts.py`."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import AsyncConnection

from tests.contract.realtime.conftest import Bench, Connect
from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.talk import SUBSCRIBED, join, join_table, next_event, next_payload
from tests.contract.realtime.tokens import token

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

SEND = "select realtime.send(jsonb_build_object('n', %s::int), 'ring', %s, true)"
Database = AsyncConnection[Any]
_numbers = itertools.count(9000)


async def test_socket_without_a_word_from_its_client_is_closed(
    bench: Bench, connect: Connect, database: Database
) -> None:
    with bench.server(IDLE_TIMEOUT_MS="1000") as server:
        socket = await connect(server)
        await join(socket, "idle", private=True)
        await database.execute(SEND, [1, "idle"])  # hearing is not speaking
        assert (await next_payload(socket, "idle"))["payload"]["n"] == "1"
        assert await socket.close_code() == 1000


async def test_what_was_committed_before_the_first_subscription_is_not_delivered(
    bench: Bench, connect: Connect, database: Database
) -> None:
    early, late = next(_numbers), next(_numbers)
    with bench.server() as server:
        await database.execute("insert into public.todos (id) values (%s)", [early])
        socket = await connect(server)
        await join_table(socket, "cold", "todos")
        await database.execute("insert into public.todos (id) values (%s)", [late])
        record = (await next_payload(socket, "cold"))["data"]["record"]
        assert record["id"] == str(late)


async def test_hundred_channels_fit_on_a_socket(server: ServerProcess, connect: Connect) -> None:
    socket = await connect(server)
    for number in range(100):
        assert (await join(socket, f"ch{number}", ref=str(number)))["status"] == "ok"
    refused = await join(socket, "ch100", ref="100")
    assert refused["response"]["reason"] == "ChannelRateLimitReached: Too many channels"
    again = await join(socket, "ch7", ref="101")
    assert again["status"] == "ok"


async def test_a_frame_over_the_limit_closes_the_socket(server: ServerProcess, connect: Connect) -> None:
    socket = await connect(server)
    await join(socket, "big", broadcast={"ack": True})
    await socket.push("realtime:big", "broadcast", {"event": "x", "payload": {"b": "y" * 3_200_000}}, "2")
    assert await next_payload(socket, "big") == {"status": "error", "response": "payload_size_exceeded"}
    await socket.push("realtime:big", "broadcast", {"event": "x", "payload": {"b": "y" * 6_000_000}}, "3")
    assert await socket.close_code() == 1009


async def test_a_new_table_is_covered_when_the_publication_is_read_again(
    bench: Bench, connect: Connect, database: Database
) -> None:
    with bench.server(PUBLICATION_REFRESH_MS="100") as server:
        socket = await connect(server)
        await join_table(socket, "wild", "*", schema="other")
        await database.execute("create table other.later (id bigint primary key)")
        await database.execute("alter publication supabase_realtime add table other.later")
        try:
            assert (await next_payload(socket, "wild"))["message"] == SUBSCRIBED
            await database.execute("insert into other.later values (1)")
            assert (await next_payload(socket, "wild"))["data"]["table"] == "later"
        finally:
            await database.execute("drop table other.later")


async def test_tokens_of_the_key_set_are_taken(bench: Bench, session: Any) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    algorithm = jwt.get_algorithm_by_name("ES256")
    public = algorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": "k1", "alg": "ES256"}
    claims = {"role": "anon", "exp": time.time() + 60}
    good = jwt.encode(claims, private, algorithm="ES256", headers={"kid": "k1"})
    forged = jwt.encode(
        claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "k1"}
    )
    with bench.server(JWKS=json.dumps({"keys": [public]})) as server:
        url = f"{server.http_url}/realtime/v1/websocket"
        async with session.ws_connect(f"{url}?apikey={good}") as socket:
            assert not socket.closed
        async with session.get(f"{url}?apikey={forged}") as response:
            assert response.status == 401
            assert await response.json() == {"error": "Failed to validate JWT signature"}


async def test_rows_hidden_by_a_policy_stay_hidden_from_their_subscribers(
    server: ServerProcess, connect: Connect, database: Database
) -> None:
    mine, theirs = next(_numbers), next(_numbers)
    socket = await connect(server, role="anon")
    changes = [{"event": "INSERT", "schema": "public", "table": "notes"}]
    await join(socket, "notes", changes=changes, access_token=token("authenticated", "1"))
    assert (await next_payload(socket, "notes"))["message"] == SUBSCRIBED
    await database.execute(
        "insert into public.notes values (%s, '22222222-2222-4222-8222-222222222222', 'x'),"
        " (%s, '11111111-1111-4111-8111-111111111111', 'y')",
        [theirs, mine],
    )
    assert (await next_payload(socket, "notes"))["data"]["record"]["id"] == str(mine)


async def test_role_postgres_makes_policies_for_messages(bench: Bench) -> None:
    """As on the hosted platform, where migrations run as `postgres`, which is no superuser."""
    async with await AsyncConnection.connect(bench.postgres.url("postgres")) as connection:
        await connection.execute(
            "create policy p on realtime.messages for select to authenticated using (realtime.topic() = 'p')"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("alter table realtime.messages add column forbidden int")
        await connection.rollback()


async def test_sigterm_closes_sockets_and_exits_cleanly(bench: Bench, connect: Connect) -> None:
    with bench.server() as server:
        socket = await connect(server)
        await join_table(socket, "bye", "todos")
        server.ask_to_stop()
        assert await socket.close_code() == 1012
        assert await asyncio.to_thread(server.exit_code) == 0


async def test_rejoin_of_a_topic_ends_the_former_channel(server: ServerProcess, connect: Connect) -> None:
    socket = await connect(server)
    await join(socket, "twice", ref="1")
    assert (await join(socket, "twice", ref="2"))["status"] == "ok"
    assert await next_event(socket, "twice") == "phx_close"


async def test_frames_that_are_no_frames_are_passed_over(server: ServerProcess, connect: Connect) -> None:
    socket = await connect(server)
    for frame in ("not json", "[1,2]", "{}", '{"topic":"a","event":"b","payload":"\\ud800","ref":"1"}'):
        await socket.send(frame)
    await socket.send_bytes(b"\x03\xff")
    await socket.settle()
    assert socket.unexpected() == []


ROW = "insert into public.todos (id, title, done, owner) values (%s, 'Alpha, beta', false, null)"


@pytest.mark.parametrize(
    ("filter_", "matches"),
    [
        ("title=eq.Alpha, beta", True),  # a comma in a value separates nothing
        ("title=neq.Alpha, beta", False),
        ("title=not.eq.other", True),
        ("title=like.Alpha%", True),
        ("title=ilike.alpha%", True),
        ("title=not.ilike.alpha%", False),
        ("title=match.^A.*a$", True),
        ("title=imatch.^a", True),
        ("title=match.^a", False),
        ("done=is.false", True),
        ("done=is.not.false", None),
        ("owner=is.null", True),
        ("owner=not.is.null", False),
        ("owner=eq.11111111-1111-4111-8111-111111111111", False),
        ("owner=not.eq.11111111-1111-4111-8111-111111111111", False),  # null is neither
        ("owner=isdistinct.11111111-1111-4111-8111-111111111111", True),
        ("id=gte.9000,done=eq.false,title=like.%beta", True),
        ("id=gte.9000,done=eq.true", False),
        ("title=in.(other,another)", False),
        ('title=in.(other,"Alpha, beta")', True),
    ],
)
async def test_filters_judge_the_row(
    server: ServerProcess, connect: Connect, database: Database, filter_: str, matches: bool | None
) -> None:
    """`None`: the filter is refused."""
    number = next(_numbers)
    todos = {"event": "INSERT", "schema": "public", "table": "todos"}
    socket = await connect(server)
    reply = await join(socket, "filtered", changes=[todos | {"filter": filter_}])
    (binding,) = reply["response"]["postgres_changes"]
    system = await next_payload(socket, "filtered")
    assert system["status"] == ("error" if matches is None else "ok")
    await join_table(socket, "all", "todos", ref="2")
    await database.execute(ROW, [number])
    assert (await next_payload(socket, "all"))["data"]["record"]["id"] == str(number)
    await socket.settle()
    heard = [frame["payload"]["ids"] for frame in socket.unexpected()]
    assert heard == ([[binding["id"]]] if matches else [])
