"""Connections between attempts: kept, found dead, tried once more, bounded, and never leaked."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.webhooks.receiver import receiving
from tests.webhooks.scripted import OK, Server, Visit, answering, serving
from tests.webhooks.sending import SECOND, SHORT, Bench, Resolver, close_all
from worker.webhooks.http.connection import Connection, Key, Writes
from worker.webhooks.http.failure import Failure
from worker.webhooks.http.pool import IDLE_SECONDS, MAX_IDLE_PER_KEY


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    yield
    await close_all()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_the_times_are_told() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench(["127.0.0.1"])
        first = await bench.send(server.url(host="hook.example.com"))
        second = await bench.send(server.url(host="hook.example.com"))
    assert first.timings.dns is not None
    assert first.timings.connect is not None
    assert first.timings.first_byte is not None
    parts = first.timings.dns + first.timings.connect + first.timings.first_byte
    assert 0 < parts <= first.seconds
    assert (second.timings.dns, second.timings.connect) == (None, None)
    assert second.timings.first_byte is not None


async def test_a_connection_that_was_closed_while_idle_costs_nothing() -> None:
    """Whether the sender has heard of it already or not."""

    async def once(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)

    async with serving(once) as server:
        bench = Bench()
        for number in range(1, 20):
            answer = await bench.send(server.url())
            assert (answer.status, server.visits) == (200, number)
            if number % 2:
                await eventually(lambda: bench.sender.pool.open_count == 0)


@pytest.mark.parametrize("reset", [True, False])
async def test_a_kept_connection_that_dies_of_the_request_is_replaced(reset: bool) -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)
        if visit.number == 1:
            await visit.request()
            if reset:
                visit.reset()
            return
        await answering(OK)(visit)

    async with serving(serve) as server:
        bench = Bench()
        for _ in range(3):
            assert (await bench.send(server.url())).status == 200
        assert server.visits == 2


async def test_a_kept_connection_that_dies_late_is_not_tried_again() -> None:
    """The receiver had the time to act on the request."""

    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)
        await visit.request()
        await asyncio.sleep(1.2)

    async with serving(serve) as server:
        bench = Bench()
        await bench.send(server.url())
        answer = await bench.send(server.url())
        assert (answer.trouble, server.visits) == ("connect", 1)


async def test_a_byte_of_an_answer_ends_all_trying() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)
        await visit.request()
        await visit.write(b"H")

    async with serving(serve) as server:
        bench = Bench()
        await bench.send(server.url())
        answer = await bench.send(server.url())
        assert (answer.trouble, server.visits) == ("connect", 1)


async def test_a_fresh_connection_that_dies_of_the_request_is_not_tried_again() -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        visit.reset()

    async with serving(serve) as server:
        answer = await Bench().send(server.url())
        assert (answer.trouble, server.visits) == ("connect", 1)


async def test_a_time_out_is_not_tried_again() -> None:
    async def serve(visit: Visit) -> None:
        await visit.gone()

    async with serving(serve) as server:
        answer = await Bench().send(server.url(), within=SHORT)
        assert (answer.trouble, server.visits) == ("timeout", 1)


@asynccontextmanager
async def failing_at_first(
    monkeypatch: pytest.MonkeyPatch, *errors: int
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """The system refuses the first connections with these errors."""
    left, asked = list(errors), list[tuple[Any, ...]]()
    loop = asyncio.get_running_loop()
    really = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        asked.append(address)
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        await really(sock, address)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "sock_connect", sock_connect)
        yield asked


async def test_a_refused_connection_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as server:
        async with failing_at_first(monkeypatch, errno.ECONNREFUSED) as asked:
            assert (await Bench().send(server.url())).status == 200
        assert len(asked) == 2
        async with failing_at_first(monkeypatch, errno.ECONNRESET, errno.ECONNREFUSED) as asked:
            answer = await Bench().send(server.url())
        assert (answer.status, answer.trouble, len(asked)) == (None, "connect", 2)


async def test_a_probe_knocks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as server:
        async with failing_at_first(monkeypatch, errno.ECONNREFUSED) as asked:
            answer = await Bench().sender.send(
                server.url(), headers={}, body=b"{}", within=SECOND, probe=True
            )
        assert (answer.status, answer.trouble, len(asked)) == (None, "connect", 1)


async def test_a_dead_kept_connection_does_not_take_the_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)
        await visit.request()

    async with serving(serve) as server:
        bench = Bench()
        await bench.send(server.url())
        async with failing_at_first(monkeypatch, errno.ECONNREFUSED) as asked:
            assert (await bench.send(server.url())).status == 200
        assert len(asked) == 2


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENOMEM, errno.EMFILE])
async def test_what_our_own_machine_lacks_is_our_fault(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async with serving(answering(OK)) as server, failing_at_first(monkeypatch, number) as asked:
        answer = await Bench().send(server.url())
        assert (answer.trouble, answer.ours, len(asked)) == ("local", True, 1)


async def test_without_a_free_file_the_idle_connections_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as server, serving(answering(OK)) as other:
        bench = Bench()
        await bench.send(server.url())
        assert bench.sender.pool.idle_count == 1
        async with failing_at_first(monkeypatch, errno.EMFILE):
            assert (await bench.send(other.url())).trouble == "local"
        assert bench.sender.pool.idle_count == 0
        assert (await bench.send(other.url())).status == 200


async def test_what_comes_unasked_between_two_requests_ends_the_connection() -> None:
    said = asyncio.Event()

    async def serve(visit: Visit) -> None:
        await visit.request()
        await visit.write(OK)
        if visit.number == 1:
            await visit.write(b"HTTP/1.1 500 Stolen\r\ncontent-length: 0\r\n\r\n")
            said.set()
        await answering(OK)(visit)

    async with serving(serve) as server:
        bench = Bench()
        assert (await bench.send(server.url())).status == 200
        await said.wait()
        await eventually(lambda: bench.sender.pool.open_count == 0)
        assert (await bench.send(server.url())).status == 200
        assert server.visits == 2


async def test_each_name_and_port_has_connections_of_its_own() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench(["127.0.0.1"])
        for host in ("a.example.com", "b.example.com", "a.example.com"):
            await bench.send(server.url(host=host))
        assert server.visits == 2


async def test_a_name_that_moved_leaves_no_connection_behind() -> None:
    async with receiving("127.0.0.1") as old, receiving("127.0.0.2", old.port) as new:
        bench = Bench(["127.0.0.1"], ["127.0.0.2"], allow="127.0.0.0/8")
        url = old.url("/", host="hook.example.com")
        await bench.send(url)
        bench.clock.leapt += 31
        await bench.send(url)
        assert (len(old.received), len(new.received)) == (1, 1)
        await eventually(lambda: bench.sender.pool.open_count == 1)


async def test_a_name_that_may_no_longer_be_sent_to_loses_its_connection() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench(["127.0.0.1"], ["10.0.0.1"])
        await bench.send(server.url(host="hook.example.com"))
        bench.clock.leapt += 31
        assert (await bench.send(server.url(host="hook.example.com"))).trouble == "blocked"
        await eventually(lambda: bench.sender.pool.open_count == 0)


async def test_connections_that_are_idle_for_long_are_closed() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench()
        pool = bench.sender.pool
        assert IDLE_SECONDS == 30
        pool._idle_seconds = 0.1
        await bench.send(server.url())
        assert pool.idle_count == 1
        await server.left.wait()
        await eventually(lambda: pool.open_count == 0)


async def all_at_once(bench: Bench, server: Server, many: int) -> set[int | None]:
    answers = await asyncio.gather(*[bench.send(server.url(), within=20 * SECOND) for _ in range(many)])
    return {answer.status for answer in answers}


async def test_no_more_is_kept_for_one_endpoint_than_the_bound() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench()
        assert await all_at_once(bench, server, MAX_IDLE_PER_KEY + 20) == {200}
        assert bench.sender.pool.idle_count <= MAX_IDLE_PER_KEY
        await eventually(lambda: bench.sender.pool.open_count <= MAX_IDLE_PER_KEY)


async def test_at_the_bound_of_all_the_longest_idle_goes_first() -> None:
    async with serving(answering(OK)) as server:
        bench = Bench(["127.0.0.1"], max_open=3)
        for host in "abcd":
            await bench.send(server.url(host=f"{host}.example.com"))
        assert bench.sender.pool.idle_count == 3
        await eventually(lambda: bench.sender.pool.open_count == 3)
        for host, visits in (("d", 4), ("b", 4), ("c", 4), ("a", 5)):
            await bench.send(server.url(host=f"{host}.example.com"))
            assert server.visits == visits, host


async def test_ten_thousand_requests_leave_nothing_open_but_the_pool() -> None:
    async def serve(visit: Visit) -> None:
        for _ in range(50):
            await visit.request()
            await visit.write(OK)

    async with serving(serve) as server:
        bench = Bench()
        before, tasks = open_files(), len(asyncio.all_tasks())
        turns = iter(range(10_000))

        async def send() -> None:
            for _ in turns:
                assert (await bench.send(server.url(), within=20 * SECOND)).status == 200

        await asyncio.gather(*[send() for _ in range(40)])
        pool = bench.sender.pool
        await eventually(lambda: pool.open_count == pool.idle_count)
        # both ends are in this process
        await eventually(lambda: open_files() <= before + 2 * pool.idle_count)
        assert pool.idle_count <= 40
        await close_all()
        await eventually(lambda: open_files() <= before)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)


@pytest.mark.parametrize("stage", ["connecting", "waiting", "reading"])
async def test_cancelling_leaves_no_connection(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = asyncio.Event()

    async def serve(visit: Visit) -> None:
        await visit.request()
        if stage == "reading":
            await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        reached.set()
        await visit.gone()

    async def never(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with serving(serve) as server:
        bench, before = Bench(), open_files()
        if stage == "connecting":
            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
        attempt = asyncio.create_task(bench.send(server.url()))
        await reached.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        if stage != "connecting":
            await server.left.wait()
        await eventually(lambda: open_files() <= before)
        assert bench.sender.pool.open_count == 0


async def test_cancelling_in_the_moment_of_the_answer_is_heeded() -> None:
    """pyreqwest lost such a cancellation."""
    async with serving(answering(OK)) as server:
        bench = Bench()
        for tick in range(40):
            attempt = asyncio.create_task(bench.send(server.url()))
            for _ in range(tick):
                await asyncio.sleep(0)
            if attempt.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await attempt
            else:
                assert (await attempt).status == 200
        pool = bench.sender.pool
        await eventually(lambda: pool.open_count == pool.idle_count)
        assert (await bench.send(server.url())).status == 200


async def test_close_ends_what_is_under_way_and_sends_no_more() -> None:
    reached = asyncio.Event()

    async def serve(visit: Visit) -> None:
        await visit.request()
        reached.set()
        await visit.gone()

    async with serving(serve) as server:
        bench = Bench()
        attempt = asyncio.create_task(bench.send(server.url()))
        await reached.wait()
        await bench.sender.close()
        assert (await attempt).trouble is not None
        await server.left.wait()
        answer = await bench.send(server.url())
        assert (answer.trouble, answer.ours, server.visits) == ("local", True, 1)


async def test_close_ends_a_look_up_without_cancelling_who_waits() -> None:
    asked = asyncio.Event()

    class Never(Resolver):
        async def __call__(self, host: str) -> Sequence[str]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    bench = Bench()
    bench.wall._resolver = Never()
    attempt = asyncio.create_task(bench.send("http://hook.example.com:8080/"))
    await asked.wait()
    await bench.sender.close()
    assert (await attempt).trouble == "resolver"


@pytest.mark.parametrize(
    "headers",
    [{"x": "a\r\nhost: b"}, {"x\r\ny": "z"}, {"x y": "z"}, {"Content-Length": "1"}, {"x": "ü"}, {"x": "\0"}],
)
async def test_headers_that_say_more_than_they_should_are_not_sent(headers: dict[str, str]) -> None:
    async with serving(answering(OK)) as server:
        answer = await Bench().sender.send(server.url(), headers=headers, body=b"{}", within=SECOND)
        assert (answer.trouble, server.visits) == ("blocked", 0)


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written.append(data)

    def abort(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


def connected(writes: Writes) -> tuple[Connection, Wire]:
    key, wire = Key("http", "127.0.0.1", 80, "127.0.0.1"), Wire()
    connection = Connection(key, loop=asyncio.get_running_loop(), writes=writes, lost=lambda _: None)
    connection.connection_made(wire)
    return connection, wire


async def test_what_a_round_of_the_loop_writes_is_written_at_its_end() -> None:
    loop = asyncio.get_running_loop()
    writes = Writes()
    (one, wire), (other, other_wire) = connected(writes), connected(writes)
    until = loop.time() + 5
    first, second = [asyncio.create_task(each.exchange(b"request", until=until)) for each in (one, other)]
    loop.call_soon(other.abort)
    assert (wire.written, other_wire.written) == ([], [])
    await asyncio.sleep(0)  # both have begun
    assert wire.written == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written == [b"request"]
    assert other_wire.written == [], "it was closed before the end of the round"
    one.data_received(OK)
    await first
    assert one.reply.status == 200
    assert one.first_byte is not None
    other.connection_lost(None)  # as the transport does after an abort
    with pytest.raises(Failure):
        await second


async def test_an_answer_that_is_there_before_its_request_was_written_is_none() -> None:
    loop = asyncio.get_running_loop()
    connection, wire = connected(Writes())
    asking = asyncio.create_task(connection.exchange(b"request", until=loop.time() + 5))
    loop.call_soon(lambda: connection.data_received(OK))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    with pytest.raises(Failure) as caught:
        await asking
    assert (caught.value.again, wire.written) == (True, [])
