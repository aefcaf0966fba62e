"""Whatever a server sends, the sender has an answer in time, reads little of it, and is not led astray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webhooks.scripted import OK, Visit, answering, serving
from tests.webhooks.sending import SECOND, SHORT, Bench, close_all, took
from worker.webhooks.http.connection import BODY_PATIENCE
from worker.webhooks.http.reply import KEPT_BYTES, MAX_HEAD, MAX_INTERIM


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    yield
    await close_all()


async def drip(visit: Visit, data: bytes) -> None:
    """Endlessly, a piece at a time."""
    while True:
        await visit.write(data)
        await asyncio.sleep(0.01)


async def test_a_head_that_drips_ends_at_the_deadline() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\nx: ")
        await drip(visit, b"y")

    async with serving(serve) as server:
        answer = await Bench().send(server.url(), within=SHORT)
    assert (answer.status, answer.trouble) == (None, "timeout")
    assert SHORT <= took(answer) < SHORT + SECOND
    assert answer.timings.first_byte is not None
    assert answer.timings.first_byte < SHORT.total_seconds()


async def test_a_body_that_drips_costs_the_patience_and_no_more() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await drip(visit, b"1\r\nx\r\n")

    async with serving(serve) as server:
        bench = Bench()
        answer = await bench.send(server.url(), within=10 * SECOND)
        assert answer.status == 200
        assert answer.head is not None
        assert answer.head.startswith("xxx")
        patience = timedelta(seconds=BODY_PATIENCE)
        assert patience <= took(answer) < patience + SECOND
        await server.left.wait()


@pytest.mark.parametrize(
    ("piece", "why"),
    [(b"x: " + b"y" * 1000 + b"\r\n", "longer than"), (b"y" * 1000, "longer than"), (b"a: b\r\n", "headers")],
)
async def test_an_endless_head_is_cut(piece: bytes, why: str) -> None:
    sent = 0

    async def serve(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\n" + (b"x: " if piece[:1] == b"y" else b""))
        while True:
            await visit.write(piece)
            sent += len(piece)

    async with serving(serve) as server:
        answer = await Bench().send(server.url(), within=5 * SECOND)
        assert answer.trouble == "protocol"
        assert why in (answer.detail or "")
        assert took(answer) < 2 * SECOND
        await server.left.wait()
    assert sent < 20_000_000


async def test_a_head_at_the_bound_is_read_however_it_is_cut_up() -> None:
    start, end = b"HTTP/1.1 200 OK\r\nx: ", b"\r\ncontent-length: 2\r\n\r\n"
    head = start + b"y" * (MAX_HEAD - len(start) - len(end)) + end
    async with serving(answering(head + b"ok")) as server:
        answer = await Bench().send(server.url())
    assert (answer.status, answer.head) == (200, "ok")
    over = head.replace(b"x: ", b"x: y", 1)
    async with serving(answering(over + b"ok")) as server:
        answer = await Bench().send(server.url())
    assert answer.trouble == "protocol"


@pytest.mark.parametrize("many", [MAX_INTERIM, MAX_INTERIM + 1])
async def test_interim_answers_are_skipped_but_not_for_ever(many: int) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nretry-after: 9\r\n\r\n" * many
    async with serving(answering(interim, OK)) as server:
        bench = Bench()
        for _ in range(2):
            answer = await bench.send(server.url())
            assert answer.status == (200 if many == MAX_INTERIM else None)
            assert answer.retry_after is None
            assert answer.trouble == (None if many == MAX_INTERIM else "protocol")
        assert server.visits == (1 if many == MAX_INTERIM else 2)


async def test_endless_interim_answers_are_cut() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        while True:
            await visit.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async with serving(serve) as server:
        answer = await Bench().send(server.url())
    assert answer.trouble == "protocol"
    assert took(answer) < 2 * SECOND


NOT_HTTP = [
    b"garbage\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 000 Nothing\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
]


@pytest.mark.parametrize("data", NOT_HTTP)
async def test_what_is_no_answer_is_the_endpoints_fault(data: bytes) -> None:
    async with serving(answering(data)) as server:
        bench = Bench()
        for visits in (1, 2):
            answer = await bench.send(server.url(), within=2 * SECOND)
            assert (answer.status, answer.trouble, answer.ours) == (None, "protocol", False)
            assert server.visits == visits, "and it is asked once, on a connection of its own"


BROKEN_BODIES = [
    b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nx",
    b"transfer-encoding: chunked\r\n\r\nzz\r\nx",
    b"transfer-encoding: chunked\r\n\r\n2\r\nokX",
    b"transfer-encoding: chunked\r\n\r\n-2\r\nok",
    b"content-length: 2\r\n\r\nok" + OK,
    b"content-length: 2\r\n\r\nok" + b"HTT",
    b"content-length: 2\r\n\r\nok" + b"rubbish",
    b"content-length: 0\r\n\r\nrubbish",
    b"content-length: 2\r\nconnection: close\r\n\r\nok",
]


@pytest.mark.parametrize("rest", BROKEN_BODIES)
async def test_after_the_head_the_status_stands_but_the_connection_does_not(rest: bytes) -> None:
    async with serving(answering(b"HTTP/1.1 202 Accepted\r\n" + rest)) as server:
        bench = Bench()
        for visits in (1, 2):
            answer = await bench.send(server.url(), within=2 * SECOND)
            assert answer.status == 202
            assert took(answer) < SECOND
            assert (server.visits, bench.sender.pool.idle_count) == (visits, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nxyz",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
async def test_answers_that_leave_no_usable_connection(data: bytes) -> None:
    async with serving(answering(data)) as server:
        bench = Bench()
        for visits in (1, 2):
            answer = await bench.send(server.url(), within=2 * SECOND)
            assert answer.status == int(data[9:12])
            assert server.visits == visits


@pytest.mark.parametrize("extension", [b";" + b"x" * 3_000_000, b";a=b" * 20])
async def test_chunk_extensions_and_trailers_have_no_say_and_no_room(extension: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b"2" + extension + b"\r\nok\r\n0\r\nretry-after: 5\r\n\r\n"
    async with serving(answering(head, body)) as server:
        bench = Bench()
        for _ in range(2):
            answer = await bench.send(server.url())
            assert (answer.status, answer.retry_after) == (200, None)
            assert took(answer) < SECOND
        assert server.visits == (2 if len(extension) > 100 else 1)


async def test_many_small_chunks_are_read_to_the_bound() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await visit.write(b"1\r\nx\r\n" * 1000)

    async with serving(serve) as server:
        answer = await Bench().send(server.url())
        assert (answer.status, answer.head) == (200, "x" * KEPT_BYTES)
        assert took(answer) < BODY_PATIENCE * SECOND / 2
        await server.left.wait()


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("framing", [b"content-length: 100\r\n", b"transfer-encoding: chunked\r\n", b""])
async def test_a_connection_that_ends_within_the_body(framing: bytes, reset: bool) -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
        if reset:
            visit.reset()

    async with serving(serve) as server:
        answer = await Bench().send(server.url())
    assert (answer.status, answer.trouble) == (200, None)
    assert server.visits == 1


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", then_close=True)) as server:
        answer = await Bench().send(server.url())
    assert (answer.status, answer.head) == (200, "all of it")
    assert took(answer) < SECOND


async def test_an_answer_before_the_request_was_read_ends_its_connection() -> None:
    async def serve(visit: Visit) -> None:
        await visit.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await visit.reader.readexactly(1000)
        await asyncio.Event().wait()  # and reads no more

    async with serving(serve) as server:
        bench = Bench()
        answer = await bench.send(server.url(), body="x" * 20_000_000, within=5 * SECOND)
        assert answer.status == 413
        assert took(answer) < 2 * SECOND
        assert bench.sender.pool.open_count == 0 or bench.sender.pool.idle_count == 0


async def test_a_peer_that_reads_nothing_is_cut_at_the_deadline() -> None:
    async def serve(visit: Visit) -> None:
        await asyncio.Event().wait()

    async with serving(serve) as server:
        answer = await Bench().send(server.url(), body="x" * 20_000_000, within=SHORT)
    assert answer.trouble == "timeout"


async def test_only_the_first_retry_after_counts() -> None:
    data = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(data)) as server:
        answer = await Bench().send(server.url())
    assert answer.retry_after == 7 * SECOND


GRAMMAR = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 500\r\n", b"\r\n"),
                *(b"\r\n\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n"),
                *(b"0\r\n\r\n", b"connection: close\r\n", b"retry-after: \xff9\r\n", b"upgrade: x\r\n", OK),
                *(b"retry-after: 99999999999999\r\n", b"HTTP/1.1 101 Go\r\n", b"x" * 40_000, b"\0"),
            ]
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=GRAMMAR, ends=st.sampled_from(["close", "reset", "stay"]), more=GRAMMAR)
def test_whatever_a_server_sends_there_is_an_answer_in_time(
    pieces: list[bytes], ends: str, more: list[bytes]
) -> None:
    asyncio.run(_answers_in_time(pieces, ends, more))


async def _answers_in_time(pieces: list[bytes], ends: str, more: list[bytes]) -> None:
    within = timedelta(milliseconds=60)

    async def serve(visit: Visit) -> None:
        await visit.request()
        for piece in pieces:
            await visit.write(piece)
        if ends == "reset":
            visit.reset()
        elif ends == "stay":
            await visit.request()
            await visit.write(*more)
            await visit.gone()

    async with serving(serve) as server:
        bench = Bench()
        for _ in range(2):
            answer = await bench.send(server.url(), within=within)
            assert (answer.status is None) != (answer.trouble is None)
            assert answer.trouble in (None, "timeout", "connect", "protocol", "resolver")
            assert took(answer) < within + SECOND
        await close_all()
