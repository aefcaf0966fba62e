"""The wall: what it refuses, what it lets through, and whose fault a failure is."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.http import Url as ClientUrl

from tests.eventually import eventually
from worker.addresses import is_public
from worker.resolver import SystemResolver
from worker.wall import (
    BlockedError,
    NoSuchHostError,
    ResolverError,
    Wall,
    WallError,
    parse_url,
)

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


def words(text: str) -> list[str]:
    return text.split()


class Names:
    """A resolver that answers from a table; every other name is a public one."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.get(host.replace(".", "_").replace("-", "_"), ["93.184.215.14"])


PRIVATE_V4 = words(
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
    127.1.2.3 127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1
    192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
    """
)
PRIVATE_V6 = words(
    """
    :: ::1 ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1
    64:ff9b::a9fe:a9fe 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::a9fe:a9fe 100::1 100:0:0:1::1 2001::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1
    2001:1::1 2001:db8::1 2001:db8:ffff::1 2002:a9fe:a9fe::1 2002:7f00:1::1 2002:808:808::1
    2620:4f:8000::1 3ffe::1 3fff::1 3fff:fff::1 5f00::1 4000::1 8000::1 e000::1 fc00::1 fd00:ec2::254
    fd12:3456:789a::1 fe80::1 fe80::5efe:a9fe:a9fe febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff0e::1
    2a00:1450:4001::5efe:a9fe:a9fe 2a00:1450:4001:81b:200:5efe:7f00:1 1fff::1 0:0:0:1::1
    """
)
PUBLIC = words(
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 93.184.215.14 100.63.255.255 100.128.0.1 126.255.255.255
    128.0.0.1 169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.0.3.1 192.167.255.255
    192.169.0.1 198.17.255.255 198.20.0.1 203.0.112.1 203.0.114.1 223.255.255.255 2606:4700:4700::1111
    2001:4860:4860::8888 2a00:1450:4001:81b::200e 2400:cb00::1 2620:fe::fe 3ffd::1 2003::1
    """
)

BAD_URLS = [
    *("", " ", "https://", "https:///", "https:/example.com", "https:example.com", "//example.com"),
    *("example.com", "ftp://example.com", "file:///etc/passwd", "gopher://example.com", "data:,x"),
    *("javascript:alert(1)", "ws://example.com", "httpss://example.com", "http://example.com"),
    *("HTTP://example.com", " https://example.com", "https://example.com ", "https://exa mple.com"),
    *("https://example.com\n", "https://example.com\t/", "https://exam\nple.com"),
    *("https://example.com\x00", "https://example.com/\r\nx: y", "https://user@example.com"),
    *("https://user:password@example.com", "https://@example.com", "https://example.com@127.0.0.1"),
    *("https://127.0.0.1#@example.com", "https://example.com:80@10.0.0.1/"),
    *("https://example.com\\@10.0.0.1", "https://example.com\\.evil.example", "https:\\\\example.com"),
    *("https://example.com/a\\b", "https://example.com/#fragment", "https://example.com#"),
    *("https://example.com:", "https://example.com:0", "https://example.com:65536"),
    *("https://example.com:-1", "https://example.com:22", "https://example.com:25"),
    *("https://example.com:6379", "https://example.com:5432", "https://example.com:443:443"),
    *("https://example.com:4a3", "https://example.com:٤٤٣", "https://:443", "https://localhost"),
    *("https://LOCALHOST", "https://a.localhost", "https://metadata", "https://db.internal"),
    *("https://printer.local", "https://nas.lan", "https://x.home.arpa", "https://x.test"),
    *("https://x.onion", "https://metadata.google.internal/", "https://example.com."),
    *("https://.example.com", "https://example..com", "https://-a.com", "https://a-.com"),
    *("https://a_b.com", "https://%31%32%37.0.0.1", "https://exa%6dple.com"),
    *("https://" + "a" * 64 + ".com", "https://" + "a." * 130 + "com", "https://example.com/" + "a" * 2048),
    *("https://127.1", "https://127.0.1", "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1"),
    *("https://0177.0.0.1", "https://017700000001", "https://127.0.0.01", "https://127.0.0.1."),
    *("https://0", "https://1.2.3", "https://1.2.3.4.5", "https://256.1.1.1", "https://1.2.3.0x4"),
    *("https://1.1.1.1e1.2", "https://[::1", "https://::1", "https://[::1]x", "https://[::1]:x"),
    *("https://[fe80::1%25eth0]", "https://[]", "https://[fe80::1%eth0]", "https://[2606:4700::1111"),
    *("https://[1.2.3.4]", "https://[::ffff:1.2.3.4.5]", "https://[v1.a]", "https://[[::1]]"),
    *("https://[2001:db8::g]", "https://１２７.0.0.1", "https://①②⑦.⓪.⓪.①", "https://127。0。0。1"),
    *("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "https://xn--\u0131.com", "https://exa\u200bmple。localhost"),
    *("https://example.com/ü", "https://example.com/a b", 'https://example.com/"'),
    *("https://example.com/<x>", "https://example.com/{x}", "https://example.com/|"),
    *("https://example.com/`", "https://example.com/\x7f"),
]

GOOD_URLS = {
    "https://example.com": "https://example.com/",
    "HTTPS://Example.COM/Hook": "https://example.com/Hook",
    "https://example.com:443/a": "https://example.com/a",
    "https://example.com:8443/a?b=c&d=%20[1]": "https://example.com:8443/a?b=c&d=%20[1]",
    "https://example.com?x=1": "https://example.com/?x=1",
    "https://hooks.sub-domain.example.co.uk/~me/(x);y=1,2/@z": "https://hooks.sub-domain.example.co.uk/~me/(x);y=1,2/@z",
    "https://bücher.example/": "https://xn--bcher-kva.example/",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
    "https://例え.jp/": "https://xn--r8jz45g.jp/",
    "https://1and1.com/": "https://1and1.com/",
    "https://4chan.org/": "https://4chan.org/",
    "https://0x.com/": "https://0x.com/",
    "https://93.184.215.14/": "https://93.184.215.14/",
    "https://[2606:4700:4700:0:0:0:0:1111]:8443/": "https://[2606:4700:4700::1111]:8443/",
}


def test_there_are_enough_vectors() -> None:
    assert len(PRIVATE_V4) + len(PRIVATE_V6) + len(BAD_URLS) > 180


@pytest.mark.parametrize("address", [*PRIVATE_V4, *PRIVATE_V6])
async def test_a_private_address_is_refused_as_literal_and_behind_a_name(address: str) -> None:
    assert not is_public(ip_address(address))
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(BlockedError):
        await Wall(Names()).check(f"https://{literal}/")
    for answer in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
        with pytest.raises(BlockedError, match="not a public address"):
            await Wall(Names(hook_example_com=answer)).check("https://hook.example.com/")


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_passes_and_is_the_one_to_connect_to(address: str) -> None:
    target = await Wall(Names(hook_example_com=[address])).check("https://hook.example.com/x")
    assert (target.url, str(target.address)) == ("https://hook.example.com/x", address)
    literal = f"[{address}]" if ":" in address else address
    assert str((await Wall(Names()).check(f"https://{literal}/")).address) == address


def test_pythons_own_judgement_would_let_some_of_them_through() -> None:
    fooled = {a for a in (*PRIVATE_V4, *PRIVATE_V6) if ip_address(a).is_global}
    assert {"168.63.129.16", "64:ff9b::a9fe:a9fe"} <= fooled
    assert {"fec0::1", "5f00::1", "2a00:1450:4001::5efe:a9fe:a9fe"} <= fooled
    # Pythons differ here, of one version too: distributions mended these in what they ship
    mended_together = {"192.0.0.8", "2002:a9fe:a9fe::1"}
    assert fooled & mended_together in (mended_together, set())


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_bad_url_is_refused_before_anything_is_resolved(url: str) -> None:
    names = Names()
    with pytest.raises(BlockedError):
        await Wall(names).check(url)
    assert names.asked == []


@pytest.mark.parametrize(("url", "canonical"), GOOD_URLS.items())
async def test_a_good_url_passes_in_canonical_form(url: str, canonical: str) -> None:
    target = await Wall(Names()).check(url)
    assert target.url == canonical
    assert ClientUrl(target.url).host_str == (f"[{target.host}]" if ":" in target.host else target.host)


@given(st.text(max_size=60).map(lambda text: f"https://{text}") | st.text(max_size=60))
def test_whatever_passes_means_the_same_host_to_the_client(url: str) -> None:
    try:
        parsed = parse_url(url)
    except BlockedError:
        return
    assert (ClientUrl(parsed.text).host_str or "").strip("[]") == parsed.host


@given(st.lists(st.sampled_from(words("0 1 7f 0x7f 127 0177 256 a xn--a xn--nxa -")), min_size=1))
def test_hosts_that_look_like_numbers_mean_the_same_to_the_client(labels: list[str]) -> None:
    try:
        parsed = parse_url("https://" + ".".join(labels), private=True)
    except BlockedError:
        return
    assert (ClientUrl(parsed.text).host_str or "").strip("[]") == parsed.host


async def test_private_hosts_pass_only_where_the_settings_allow_them() -> None:
    names = Names(localhost=["127.0.0.1"], db_internal=["10.0.0.7"])
    wall = Wall(names, allow=LOOPBACK)
    assert str((await wall.check("http://127.0.0.1:8000/x")).address) == "127.0.0.1"
    assert str((await wall.check("http://[::1]:8000/x")).address) == "::1"
    assert str((await wall.check("http://localhost:8000/x")).address) == "127.0.0.1"
    for url in ("https://db.internal/", "https://169.254.169.254/", "https://[::ffff:127.0.0.1]/"):
        with pytest.raises(BlockedError):
            await wall.check(url)
    with pytest.raises(BlockedError, match="only https"):
        await wall.check("http://example.com/")


async def test_too_many_addresses_and_none() -> None:
    with pytest.raises(BlockedError, match="more than 32"):
        await Wall(Names(a_example_com=["93.184.215.14"] * 33)).check("https://a.example.com")
    with pytest.raises(NoSuchHostError):
        await Wall(Names(a_example_com=[])).check("https://a.example.com")
    with pytest.raises(BlockedError, match="not an address"):
        await Wall(Names(a_example_com=["not-an-address"])).check("https://a.example.com")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NoSuchHostError),
        (socket.gaierror(socket.EAI_NODATA, "No address associated"), NoSuchHostError),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), ResolverError),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), ResolverError),
        (OSError(24, "Too many open files"), ResolverError),
    ],
)
async def test_whose_fault_a_failed_look_up_is(
    fault: OSError, expected: type[WallError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    resolver = SystemResolver(threads=1)
    with pytest.raises(expected):
        await Wall(resolver).check("https://hook.example.com/")


async def test_a_resolver_that_hangs_is_our_fault_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: let_go.wait(10) and [])
    resolver = SystemResolver(timeout=timedelta(milliseconds=50), threads=1)
    with pytest.raises(ResolverError, match="in time"):
        await Wall(resolver).check("https://hook.example.com/")
    let_go.set()


HANGS = """
import asyncio, socket, threading
from datetime import timedelta
from worker.resolver import SystemResolver
from worker.wall import ResolverError

socket.getaddrinfo = lambda *_, **__: threading.Event().wait(60)

async def main():
    try:
        await SystemResolver(timeout=timedelta(milliseconds=50))("hook.example.com")
    except ResolverError:
        print("in time", flush=True)

asyncio.run(main())
"""


async def test_a_look_up_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGS, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (out, process.returncode) == (b"in time\n", 0)


async def test_hanging_look_ups_take_no_more_threads_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, asked = threading.Event(), list[str]()

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        let_go.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = SystemResolver(timeout=timedelta(milliseconds=50), threads=2)
    found = await asyncio.gather(*(resolver(f"{n}.example.com") for n in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [ResolverError] * 5
    assert len(asked) == 2
    let_go.set()
    await eventually(lambda: not any(thread.name == "resolver" for thread in threading.enumerate()))
    assert await resolver("9.example.com") == [], "their places are free again"


async def test_the_machines_own_resolver_knows_localhost() -> None:
    resolver = SystemResolver(threads=1)
    target = await Wall(resolver, allow=LOOPBACK).check("http://localhost:8000/")
    assert target.address.is_loopback
