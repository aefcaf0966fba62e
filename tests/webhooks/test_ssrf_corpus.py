"""The wall against the corpus of hostile URLs, and against a thousand hosts that are none of that."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import pytest

from tests.eventually import eventually
from tests.webhooks.hosts import INTERNATIONAL, REAL, public_hosts
from tests.webhooks.receiver import receiving
from tests.webhooks.sending import Bench
from tests.webhooks.vectors import FILE, Vector, hostile
from worker.addresses import is_public
from worker.wall import BlockedError, NoSuchHostError, Wall

HOSTILE = hostile()
FAMILIES = sorted({vector.family for vector in HOSTILE})
PUBLIC = ["93.184.215.14", "2606:4700::1111"]


@dataclass
class Names:
    """A resolver that gives one answer after the other; the last one stays."""

    answers: list[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def knocking(host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[object]]]:
    """A listener inside; yields its port, and every connection that anybody made to it."""
    knocks: list[object] = []

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(writer)
        writer.close()

    server = await asyncio.start_server(connected, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], knocks


def test_the_corpus_is_large_and_says_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(vector.family for vector in HOSTILE)
    with capsys.disabled():
        print(f"\n{len(HOSTILE)} hostile URLs in {len(counts)} families, {len(public_hosts())} public hosts")
    assert len({vector.url for vector in HOSTILE}) == len(HOSTILE) >= 500
    assert len(counts) >= 15
    assert min(counts.values()) >= 5, counts
    in_file = [line for line in FILE.read_text().split("\n")[3:] if line[:2] != "# "]
    twice = [line for line, count in Counter(filter(None, in_file)).items() if count > 1]
    assert twice == []


@pytest.mark.parametrize("family", FAMILIES)
async def test_nothing_of_the_family_passes(family: str) -> None:
    passed, resolved = list[Vector](), list[Vector]()
    for vector in (vector for vector in HOSTILE if vector.family == family):
        names = Names([PUBLIC if vector.answers is None else vector.answers])
        try:
            await Wall(names).check(vector.url)
            passed.append(vector)
        except (BlockedError, NoSuchHostError):
            if (vector.answers is None) != (names.asked == []):
                resolved.append(vector)
    assert passed == []
    assert resolved == [], "resolved though it says enough, or refused though only its address is bad"


async def test_a_wall_that_is_open_to_loopback_is_open_to_nothing_else() -> None:
    """The demo's setting: what passes leads to loopback or outside, never to another network."""
    allow, passed = ip_network("127.0.0.0/8"), 0
    for vector in HOSTILE:
        names = Names([["10.0.0.1"] if vector.answers is None else vector.answers])
        try:
            target = await Wall(names, allow=[allow]).check(vector.url)
        except (BlockedError, NoSuchHostError):
            continue
        passed += 1
        assert target.address in allow or is_public(target.address), vector
    assert 10 < passed < 60


def test_the_usual_check_lets_hundreds_through() -> None:
    """What most programs do: split the URL, look at the address with `is_global`."""

    def is_fine(vector: Vector) -> bool:
        try:
            parts = urlsplit(vector.url)
            if parts.scheme != "https" or not parts.hostname or parts.hostname == "localhost":
                return False
            addresses = vector.answers or (PUBLIC if re.search("[a-z]", parts.hostname) else [parts.hostname])
            return all(ip_address(address.strip("[]")).is_global for address in addresses)
        except ValueError:
            return False

    assert sum(is_fine(vector) for vector in HOSTILE) > 300


REBINDING = [
    ("127.0.0.1",),
    ("169.254.169.254",),
    ("::1",),
    ("::ffff:10.0.0.1",),
    ("93.184.215.14", "192.168.0.1"),
    ("fd00:ec2::254",),
]


@pytest.mark.parametrize("then", REBINDING)
async def test_a_name_that_is_public_first_and_private_next_never_leads_inside(then: tuple[str, ...]) -> None:
    names = Names([PUBLIC, then])
    wall = Wall(names)
    target = await wall.check("https://rebinding.example.com/")
    assert is_public(target.address), "whoever connects uses this address, whatever the name says by now"
    assert len(names.asked) == 1
    for _ in range(3):
        with pytest.raises(BlockedError):
            await wall.check("https://rebinding.example.com/")


async def test_no_vector_makes_a_connection() -> None:
    """The sender behind a closed wall, with a listener at the very address and port that the URLs name."""
    async with knocking() as (port, knocks), asyncio.timeout(60):
        bench = Bench(["127.0.0.1"], allow="192.0.2.0/24")
        loopback = [v for v in HOSTILE if v.family in ("IPv4 forms", "IPv4 inside IPv6", "IPv6 literals")]
        named = [v for v in HOSTILE if v.answers is not None and "127.0.0.1" in v.answers]
        assert len(loopback) + len(named) > 500
        for vector in (*loopback, *named):
            for scheme in ("http", "https"):
                url = re.sub(r"^https(://(?:\[[^/]*\]|[^/:]*)).*", rf"{scheme}\1:{port}/", vector.url)
                assert (await bench.send(url)).trouble == "blocked", url
        assert knocks == []
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await eventually(lambda: knocks)
        assert len(knocks) == 1, "somebody who connects is seen"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_a_redirect_to_an_address_inside_makes_no_second_connection(status: int) -> None:
    async with receiving() as receiver, knocking("127.0.0.2") as (port, knocks):
        for place in (f"http://127.0.0.2:{port}/", f"//127.0.0.2:{port}/", receiver.url("/next")):
            receiver.answer("/from", status, headers={"location": place, "refresh": f"0; url={place}"})
            answer = await Bench(allow="127.0.0.0/8").send(receiver.url("/from"))
            assert answer.status == status
    assert knocks == []
    assert [request.path for request in receiver.received] == ["/from"] * 3


async def test_a_thousand_public_hosts_pass() -> None:
    hosts = public_hosts()
    assert len(hosts) >= 1000
    assert len(set(REAL)) >= 200
    wall = Wall(Names([PUBLIC]))
    refused = dict[str, str]()
    for host in (*hosts, *INTERNATIONAL):
        try:
            target = await wall.check(f"https://{host}/hooks/in?tenant=1")
            assert target.host.isascii()
            assert target.address == ip_address(PUBLIC[0])
        except (BlockedError, NoSuchHostError) as error:
            refused[host] = str(error)
    assert refused == {}
