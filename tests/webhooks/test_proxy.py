"""The way out through a proxy: to the checked address and nowhere else, and its faults are ours."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.webhooks.authority import Authority
from tests.webhooks.connect_proxy import ConnectProxy, proxying
from tests.webhooks.scripted import OK, answering, serving
from tests.webhooks.sending import SECOND, SHORT, Bench, Resolver, close_all, took
from worker.config import Settings
from worker.engine.clock import SystemClock
from worker.tls import tls_context
from worker.wall import ResolverError
from worker.webhooks.build import sender
from worker.webhooks.http.proxy import Proxy, ProxyAddress

HOST = "hook.example.com"


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    yield
    await close_all()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with proxying() as found:
        yield found


def behind(proxy_url: str, names: Sequence[str] | Exception = (), *, roots: str | None = None) -> Bench:
    way_out = Proxy(ProxyAddress.parse(proxy_url), Resolver(names))
    tls = None if roots is None else tls_context(roots=roots)
    return Bench(["127.0.0.1"], proxy=way_out, tls=tls)


async def test_the_proxy_is_asked_for_the_checked_address(proxy: ConnectProxy) -> None:
    async with serving(answering(OK)) as server:
        bench = behind(proxy.url())
        for _ in range(3):
            answer = await bench.send(server.url(host=HOST))
            assert (answer.status, answer.head) == (200, "ok")
        target = f"127.0.0.1:{server.port}"
        assert proxy.asked == [f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"]
        assert server.visits == 1, "and the tunnel is kept"


async def test_tls_runs_inside_and_ends_at_the_endpoint(proxy: ConnectProxy, tmp_path: Path) -> None:
    authority = Authority.found(tmp_path)
    async with serving(answering(OK), tls=authority.server(HOST)) as server:
        bench = behind(proxy.url(), roots=authority.roots)
        for _ in range(2):
            assert (await bench.send(server.url("https", HOST))).status == 200
        assert len(proxy.asked) == 1
    async with serving(answering(OK), tls=authority.server("other.example.com")) as server:
        answer = await behind(proxy.url(), roots=authority.roots).send(server.url("https", HOST))
        assert (answer.trouble, answer.ours) == ("tls", False)


async def test_the_user_and_password_are_decoded_and_told(proxy: ConnectProxy) -> None:
    async with serving(answering(OK)) as server:
        assert (await behind(proxy.url("us%40er:p%3Ass@")).send(server.url())).status == 200
    given = b64encode(b"us@er:p:ss").decode()
    assert f"\r\nproxy-authorization: Basic {given}\r\n" in proxy.asked[0]


async def test_a_proxy_by_name_is_looked_up(proxy: ConnectProxy) -> None:
    async with serving(answering(OK)) as server:
        named = proxy.url(host="proxy.internal")
        assert (await behind(named, ["127.0.0.1"]).send(server.url())).status == 200
        answer = await behind(named, ResolverError("away")).send(server.url())
        assert (answer.trouble, answer.ours) == ("proxy", True)
        answer = await behind(named, []).send(server.url())
        assert (answer.trouble, answer.ours) == ("proxy", True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad", "502"),
        (b"HTTP/1.1 200 OK\r\n", "no answer"),
        (b"", "no answer"),
        (b"garbage\r\n\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000, "no answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + OK, "does not end"),
    ],
)
async def test_a_proxy_that_fails_is_our_fault(proxy: ConnectProxy, said: bytes, why: str) -> None:
    proxy.answer = said
    async with serving(answering(OK)) as server:
        answer = await behind(proxy.url()).send(server.url())
        assert (answer.status, answer.trouble, answer.ours) == (None, "proxy", True)
        assert why in (answer.detail or "")
        assert server.visits == 0
        assert len(proxy.asked) == 1


async def test_a_proxy_that_hangs_is_our_fault(proxy: ConnectProxy) -> None:
    proxy.hang = True
    answer = await behind(proxy.url()).send("http://127.0.0.1:8080/", within=SHORT)
    assert (answer.trouble, answer.ours) == ("proxy", True)
    assert took(answer) < SHORT + SECOND
    await proxy.server.left.wait()


async def test_a_proxy_that_is_not_there_is_our_fault() -> None:
    async with proxying() as gone:
        pass
    answer = await behind(gone.url()).send("http://127.0.0.1:8080/")
    assert (answer.trouble, answer.ours) == ("proxy", True)
    assert "refused" in (answer.detail or "")


async def test_an_endpoint_that_hangs_behind_the_proxy_is_its_own_fault(proxy: ConnectProxy) -> None:
    async with serving(lambda visit: visit.gone()) as server:
        answer = await behind(proxy.url()).send(server.url(), within=SHORT)
    assert (answer.trouble, answer.ours) == ("timeout", False)


async def test_cancelling_closes_the_way_to_the_proxy(proxy: ConnectProxy) -> None:
    proxy.hang = True
    attempt = asyncio.create_task(behind(proxy.url()).send("http://127.0.0.1:8080/"))
    await eventually(lambda: proxy.asked)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await proxy.server.left.wait()


async def test_the_settings_lead_through_the_proxy(proxy: ConnectProxy) -> None:
    settings = Settings.model_validate(
        {
            "supabase_url": "http://127.0.0.1:1",
            "SUPABASE_SECRET_KEY": "sb_secret_x",
            "worker_allow_private_hosts": "127.0.0.0/8",
            "worker_egress_proxy": proxy.url("user:hidden@"),
        }
    )
    assert "hidden" not in repr(settings)
    way_out = sender(settings, SystemClock())
    async with serving(answering(OK)) as server:
        answer = await way_out.send(server.url(), headers={}, body=b"{}", within=SECOND)
    await way_out.close()
    assert (answer.status, len(proxy.asked)) == (200, 1)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://proxy:1",
            "http://proxy",
            "http://proxy:0",
            "http://proxy:99999",
            "proxy:3128",
            "http://:1",
        ),
        *(
            "http://proxy:1/path",
            "http://proxy:1?x",
            "http://user@proxy:1",
            "http://a:b:c@proxy:1",
            "http://[:1",
        ),
    ],
)
def test_a_proxy_is_written_in_one_way(url: str) -> None:
    with pytest.raises(ValueError, match="must read http://"):
        ProxyAddress.parse(url)
