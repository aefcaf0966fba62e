"""What the sender makes of good, broken and hostile receivers, all of them real ones on loopback."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
import pytest_asyncio
from aiohttp import web

from tests.eventually import eventually
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.sending import SECOND, SHORT, Bench, close_all, raw_server, took
from worker.wall import ResolverError
from worker.webhooks.http.reply import KEPT_BYTES, READ_BYTES


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    yield
    await close_all()


async def test_status_head_and_duration_come_back(receiver: Receiver) -> None:
    async def respond(_: web.BaseRequest) -> web.Response:
        return web.Response(status=202, text="thank you\x00\x1b[31m ü", headers={"retry-after": "7"})

    receiver.behaviour["/"] = respond
    answer = await Bench().send(receiver.url("/"), body='{"ü": 1}')
    assert (answer.status, answer.head) == (202, "thank you��[31m ü")
    assert answer.retry_after == timedelta(seconds=7)
    assert timedelta(0) < took(answer) < 5 * SECOND
    assert receiver.received[0].body == '{"ü": 1}'


async def test_connections_are_used_again(receiver: Receiver) -> None:
    bench = Bench()
    for _ in range(20):
        assert (await bench.send(receiver.url("/"))).status == 204
    assert len(receiver.received) == 20
    assert len(receiver.connections) == 1


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    receiver.answer("/from", 302, headers={"location": receiver.url("/to")})
    answer = await Bench().send(receiver.url("/from"))
    assert answer.status == 302
    assert [r.path for r in receiver.received] == ["/from"]


async def test_a_receiver_that_hangs_is_cut_at_the_deadline(receiver: Receiver) -> None:
    receiver.hang("/")
    answer = await Bench().send(receiver.url("/"), within=SHORT)
    assert answer.trouble == "timeout"
    assert SHORT <= took(answer) < SHORT + SECOND


async def test_headers_that_drip_are_cut_at_the_deadline() -> None:
    dripping: set[asyncio.Task[None]] = set()

    def drip(writer: asyncio.StreamWriter) -> None:
        async def go() -> None:
            while not writer.is_closing():
                writer.write(b"HTTP/1.1 200 OK\r\nx: y"[:1])
                await asyncio.sleep(0.05)

        dripping.add(asyncio.create_task(go()))

    async with raw_server(drip) as port:
        answer = await Bench().send(f"http://127.0.0.1:{port}/", within=SHORT)
        for task in dripping:
            task.cancel()
    assert answer.status is None
    assert answer.trouble in ("timeout", "protocol")
    assert took(answer) < SHORT + SECOND


@pytest.mark.parametrize("some", ["", "some"])
async def test_a_body_that_never_ends_does_not_cost_the_status(some: str) -> None:
    def start(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + some.encode())

    async with raw_server(start) as port:
        answer = await Bench().send(f"http://127.0.0.1:{port}/", within=SHORT)
    assert (answer.status, answer.head) == (200, some)
    assert took(answer) < SHORT + SECOND


async def test_a_huge_body_is_read_to_the_bound_and_cut(receiver: Receiver) -> None:
    sent = 0

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while sent < 500_000_000:
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            pass
        return response

    receiver.behaviour["/"] = respond
    answer = await Bench().send(receiver.url("/"))
    assert answer.status == 200
    assert answer.head == "x" * KEPT_BYTES
    assert took(answer) < 2 * SECOND
    assert sent < 100_000_000, "the connection was closed long before the end"
    assert READ_BYTES < 100_000


async def test_a_gzip_bomb_is_not_expanded(receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def respond(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"content-encoding": "gzip"})

    receiver.behaviour["/"] = respond
    answer = await Bench().send(receiver.url("/"))
    assert answer.status == 200
    assert answer.head is not None
    assert len(answer.head) <= KEPT_BYTES
    assert receiver.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("bytes_back", "trouble"),
    [(b"", "connect"), (b"garbage\r\n\r\n", "protocol"), (b"HTTP/1.1 2", "connect")],
)
async def test_broken_answers(bytes_back: bytes, trouble: str) -> None:
    def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_back)
        if trouble == "connect":
            writer.close()

    async with raw_server(respond) as port:
        answer = await Bench().send(f"http://127.0.0.1:{port}/", within=2 * SECOND)
    assert (answer.status, answer.trouble, answer.ours) == (None, trouble, False)


async def test_a_connection_reset_after_the_request() -> None:
    async with raw_server(lambda writer: writer.transport.abort()) as port:
        answer = await Bench().send(f"http://127.0.0.1:{port}/", within=2 * SECOND)
    assert answer.trouble == "connect"


async def test_nobody_listens() -> None:
    async with raw_server(lambda _: None) as port:
        pass
    answer = await Bench().send(f"http://127.0.0.1:{port}/", within=2 * SECOND)
    assert (answer.trouble, answer.ours) == ("connect", False)
    assert "refused" in (answer.detail or "")


async def test_plain_http_behind_an_https_url(receiver: Receiver) -> None:
    answer = await Bench().send(receiver.url("/").replace("http:", "https:"), within=2 * SECOND)
    assert answer.trouble == "tls"
    assert receiver.received == []


async def test_the_wall_stands_before_the_sender(receiver: Receiver) -> None:
    answer = await Bench(allow="10.0.0.0/8").send(receiver.url("/"))
    assert (answer.trouble, answer.ours) == ("blocked", False)
    assert receiver.received == []


async def test_a_resolver_that_fails_is_our_fault(receiver: Receiver) -> None:
    bench = Bench(ResolverError("away"), ["127.0.0.1"])
    url = receiver.url("/", host="hook.example.com")
    first = await bench.send(url)
    assert (first.trouble, first.ours) == ("resolver", True)
    assert (await bench.send(url)).status == 204, "and it is asked again at once"


async def test_a_name_that_moves_to_a_private_address_is_never_connected_to() -> None:
    async with receiving("127.0.0.1") as allowed, receiving("127.0.0.2", allowed.port) as forbidden:
        bench = Bench(["127.0.0.1"], ["127.0.0.2"])
        url = allowed.url("/", host="rebinding.example.com")
        for _ in range(5):
            assert (await bench.send(url)).status == 204
        assert len(bench.resolver.asked) == 1, "within its time the checked address is kept"
        bench.clock.leapt += 31
        answer = await bench.send(url)
        assert answer.trouble == "blocked"
        assert len(bench.resolver.asked) == 2
        assert len(allowed.received) == 5
        assert forbidden.received == []
        assert allowed.received[0].headers["host"] == f"rebinding.example.com:{allowed.port}"


async def test_asking_the_system_again_when_connecting_would_go_elsewhere(receiver: Receiver) -> None:
    """What the pin is for: the name does not exist but for the wall's own answer."""
    bench = Bench(["127.0.0.1"])
    assert (await bench.send(receiver.url("/", host="no-such-name.invalid"))).status == 204


async def test_one_address_of_many_is_private() -> None:
    answer = await Bench(["127.0.0.1", "127.0.0.2"]).send("http://hook.example.com:8080/")
    assert answer.trouble == "blocked"


async def test_many_callers_ask_the_resolver_once(receiver: Receiver) -> None:
    bench = Bench(["127.0.0.1"])
    url = receiver.url("/", host="hook.example.com")
    answers = await asyncio.gather(*[bench.send(url) for _ in range(20)])
    assert {answer.status for answer in answers} == {204}
    assert len(bench.resolver.asked) == 1


async def test_a_cancelled_caller_does_not_take_the_answer_from_the_others(receiver: Receiver) -> None:
    let_go = asyncio.Event()

    class Slow:
        async def __call__(self, host: str) -> Sequence[str]:
            await let_go.wait()
            return ["127.0.0.1"]

    bench = Bench()
    bench.wall._resolver = Slow()
    url = receiver.url("/", host="hook.example.com")
    first, second = (asyncio.create_task(bench.send(url)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    let_go.set()
    assert (await second).status == 204
    assert first.cancelled()


async def test_a_cancelled_attempt_closes_its_connection(receiver: Receiver) -> None:
    receiver.hang("/")
    attempt = asyncio.create_task(Bench().send(receiver.url("/")))
    await eventually(lambda: receiver.received)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    [transport] = receiver.connections
    assert isinstance(transport, asyncio.Transport)
    await eventually(transport.is_closing)


async def test_after_a_failed_connection_the_name_is_resolved_anew(receiver: Receiver) -> None:
    async with raw_server(lambda writer: writer.transport.abort()) as port:
        bench = Bench(["127.0.0.1"])
        for _ in range(2):
            await bench.send(f"http://hook.example.com:{port}/", within=SECOND)
        assert len(bench.resolver.asked) == 2
