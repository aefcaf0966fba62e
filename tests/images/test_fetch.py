"""Fetching from servers of all kinds: through the wall at each hop, within bounds, and nothing half there."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from tests.webhooks.authority import Authority
from tests.webhooks.connect_proxy import proxying
from tests.webhooks.scripted import Visit, serving
from worker.engine.clock import SystemClock
from worker.images.fetch import Fetcher, FetchLimits
from worker.images.room import NoRoom
from worker.images.source import SourceAway, SourceError, SourceRefused
from worker.tls import tls_context
from worker.wall import NoSuchHostError, ResolverError, Wall

HOST = "pictures.example"
LOOPBACK = (ip_network("127.0.0.0/8"),)
PICTURE = bytes(range(256)) * 400
QUICK = FetchLimits(
    bytes=200_000,
    hops=3,
    connect=timedelta(seconds=2),
    silence=timedelta(seconds=0.4),
    total=timedelta(seconds=1.5),
)
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A resolver that knows one name, and says something else each time if it is told to."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers) or [["127.0.0.1"]]
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def fetching(
    names: Names | None = None, *, roots: str | None = None, proxy: str | None = None
) -> AsyncIterator[Fetcher]:
    wall = Wall(names or Names(), allow=LOOPBACK)
    tls = tls_context(roots=roots)
    async with Fetcher(wall, clock=SystemClock(), tls=tls, proxy=proxy, limits=QUICK) as fetcher:
        yield fetcher


@asynccontextmanager
async def pictures(serve: Serve) -> AsyncIterator[str]:
    """The URL of a server that answers every path with `serve`."""
    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def ok(_: web.Request) -> web.StreamResponse:
    return web.Response(body=PICTURE)


async def test_a_picture_arrives_byte_for_byte_and_its_server_hears_its_own_name(tmp_path: Path) -> None:
    heard: list[tuple[str, str | None, str]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        heard.append((request.host, request.headers.get("cookie"), request.raw_path))
        answer = web.Response(body=PICTURE)
        answer.set_cookie("seen", "1")
        return answer

    names = Names()
    async with pictures(serve) as base, fetching(names) as fetcher:
        for _ in range(2):
            assert await fetcher.fetch(f"{base}/a%20b.jpg?w=1&h=%2F", tmp_path / "a") == len(PICTURE)
        port = base.rpartition(":")[2]
    assert (tmp_path / "a").read_bytes() == PICTURE
    assert heard == [(f"{HOST}:{port}", None, "/a%20b.jpg?w=1&h=%2F")] * 2, (
        "as it was written, and no cookies"
    )
    assert names.asked == [HOST, HOST]


async def test_a_full_disk_is_no_fault_of_the_server(tmp_path: Path) -> None:
    async with pictures(ok) as base, fetching() as fetcher:
        with pytest.raises(NoRoom, match="No space left on device"):
            await fetcher.fetch(f"{base}/a", Path("/dev/full"))


async def test_what_was_checked_is_connected_to_whatever_the_name_says_then(tmp_path: Path) -> None:
    """The name is known to our resolver alone; a client that asks again finds nothing, or something else."""
    async with pictures(ok) as base, fetching(Names(["127.0.0.1"], ["10.0.0.1"])) as fetcher:
        await fetcher.fetch(f"{base}/a", tmp_path / "a")
        with pytest.raises(SourceRefused, match=r"image\.url_blocked.*10\.0\.0\.1"):
            await fetcher.fetch(f"{base}/a", tmp_path / "a")


@pytest.mark.parametrize(
    "where",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/a.jpg",
        "file:///etc/passwd",
        "http://user:pass@pictures.example/a",
        "gopher://pictures.example/a",
        "http://[::ffff:169.254.169.254]/",
        "//192.168.0.1/a",
        "http://pictures.example:22/a",
    ],
)
async def test_each_hop_passes_the_wall(where: str, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": where})

    async with pictures(serve) as base, fetching() as fetcher:
        with pytest.raises(SourceRefused, match=r"image\.url_blocked"):
            await fetcher.fetch(f"{base}/a", tmp_path / "a")


async def test_a_redirect_to_what_is_no_url(tmp_path: Path) -> None:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": "https://["})

    async with pictures(serve) as base, fetching() as fetcher:
        with pytest.raises(SourceRefused, match=r"image\.source_refused"):
            await fetcher.fetch(f"{base}/a", tmp_path / "a")


async def test_redirects_are_followed_so_far(tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        left = int(request.path.lstrip("/"))
        status = (301, 302, 303, 307, 308)[left % 5]
        return (
            web.Response(status=status, headers={"location": f"/{left - 1}"}) if left else await ok(request)
        )

    async with pictures(serve) as base, fetching() as fetcher:
        assert await fetcher.fetch(f"{base}/3", tmp_path / "a") == len(PICTURE)
        with pytest.raises(SourceRefused, match=r"image\.too_many_redirects"):
            await fetcher.fetch(f"{base}/4", tmp_path / "a")


ANSWERS = {
    200: None,
    204: SourceRefused,
    206: SourceRefused,
    304: SourceRefused,
    401: SourceRefused,
    403: SourceRefused,
    404: SourceRefused,
    410: SourceRefused,
    408: SourceAway,
    425: SourceAway,
    429: SourceAway,
    500: SourceAway,
    503: SourceAway,
    599: SourceAway,
}


@pytest.mark.parametrize(("status", "error"), ANSWERS.items())
async def test_what_a_status_means(status: int, error: type[SourceError] | None, tmp_path: Path) -> None:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=PICTURE, headers={"retry-after": "7"})

    async with pictures(serve) as base, fetching() as fetcher:
        if error is None:
            await fetcher.fetch(f"{base}/a", tmp_path / "a")
            return
        with pytest.raises(error, match=f"answered {status}") as raised:
            await fetcher.fetch(f"{base}/a", tmp_path / "a")
    if isinstance(raised.value, SourceAway):
        assert raised.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
async def test_too_much_is_refused_before_it_fills_the_disk(told: bool, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        if told:
            answer.content_length = QUICK.bytes + 1
        await answer.prepare(request)
        for _ in range(1000):
            await answer.write(b"x" * 50_000)
        return answer

    async with pictures(serve) as base, fetching() as fetcher:
        with pytest.raises(SourceRefused, match=r"image\.too_large"):
            await fetcher.fetch(f"{base}/a", tmp_path / "a")
    written = (tmp_path / "a").stat().st_size if (tmp_path / "a").exists() else 0
    assert written <= QUICK.bytes


async def test_what_is_packed_is_not_unpacked(tmp_path: Path) -> None:
    body = gzip.compress(bytes(50_000_000), 1)

    async def serve(request: web.Request) -> web.StreamResponse:
        assert request.headers["accept-encoding"] == "identity"
        return web.Response(body=body, headers={"content-encoding": "gzip"})

    async with pictures(serve) as base, fetching() as fetcher:
        with pytest.raises(SourceRefused, match=r"image\.source_packed"):
            await fetcher.fetch(f"{base}/a", tmp_path / "a")


async def cut(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf of it")


async def silent(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.gone()


async def dripping(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        await visit.write(b"x")
        await asyncio.sleep(0.1)


async def garbled(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.write(b"\x16\x03\x01 what?\r\n\r\n")


async def endless_head(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.write(b"HTTP/1.1 200 OK\r\n" + b"x-more: " + b"y" * 100_000 + b"\r\n\r\n")


async def empty(visit: Visit) -> None:
    await visit.reader.readuntil(b"\r\n\r\n")
    await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("fault", [cut, silent, dripping, garbled, endless_head, empty])
async def test_a_server_with_faults_is_asked_again_later(
    fault: Callable[[Visit], Awaitable[None]], tmp_path: Path
) -> None:
    async with serving(fault) as server, fetching() as fetcher:
        with pytest.raises(SourceAway):
            await fetcher.fetch(server.url(host=HOST), tmp_path / "a")


@pytest.mark.parametrize("names", [NoSuchHostError("none"), ResolverError("away"), []])
async def test_a_name_without_address_is_asked_again_later(
    names: Exception | list[str], tmp_path: Path
) -> None:
    async with fetching(Names(names)) as fetcher:
        with pytest.raises(SourceAway, match=r"image\.source_unreachable"):
            await fetcher.fetch(f"https://{HOST}/a", tmp_path / "a")


async def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    async with serving(cut) as server:
        url = server.url(host=HOST)
    async with fetching() as fetcher:
        with pytest.raises(SourceAway, match=r"image\.source_unreachable"):
            await fetcher.fetch(url, tmp_path / "a")


@pytest.mark.parametrize("behind_a_proxy", [False, True], ids=["directly", "proxied"])
async def test_certificates_are_of_the_name(tmp_path: Path, behind_a_proxy: bool) -> None:
    async def serve(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

    authority = Authority.found(tmp_path / "authority")
    async with proxying() as proxy:
        through = proxy.url() if behind_a_proxy else None
        for name, trusted in ((HOST, True), ("else.example", False)):
            async with (
                serving(serve, tls=authority.server(name)) as server,
                fetching(roots=authority.roots, proxy=through) as fetcher,
            ):
                if trusted:
                    assert await fetcher.fetch(server.url("https", HOST), tmp_path / "a") == 2
                    continue
                with pytest.raises(SourceAway, match=r"image\.source_untrusted"):
                    await fetcher.fetch(server.url("https", HOST), tmp_path / "a")
        assert len(proxy.asked) == (2 if behind_a_proxy else 0)
        assert all(asked.startswith("CONNECT 127.0.0.1:") for asked in proxy.asked)
