"""TLS to real servers: whom the sender believes, and what it makes of the rest."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.webhooks.authority import Authority
from tests.webhooks.scripted import OK, Visit, answering, serving
from tests.webhooks.sending import SECOND, Bench, close_all, took
from worker.tls import tls_context
from worker.wall import BlockedError, parse_url

HOST = "hook.example.com"
CLIENT_SIDE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    yield
    await close_all()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.found(tmp_path)


def trusting(authority: Authority) -> Bench:
    return Bench(["127.0.0.1"], tls=tls_context(roots=authority.roots))


async def test_a_trusted_server_is_sent_to_and_its_connection_kept(authority: Authority) -> None:
    seen: list[str | None] = []

    async def serve(visit: Visit) -> None:
        tls = visit.writer.get_extra_info("ssl_object")
        seen.extend([tls.version(), tls.selected_alpn_protocol()])
        await answering(OK)(visit)

    async with serving(serve, tls=authority.server(HOST)) as server:
        bench = trusting(authority)
        first = await bench.send(server.url("https", HOST))
        second = await bench.send(server.url("https", HOST))
        assert (first.status, second.status, server.visits) == (200, 200, 1)
        assert first.timings.connect is not None
        assert second.timings.connect is None
        await close_all()
    assert seen == ["TLSv1.3", "http/1.1"]


async def test_an_address_in_the_url_is_verified_as_an_address(authority: Authority) -> None:
    async with serving(answering(OK), tls=authority.server("127.0.0.1")) as server:
        assert (await trusting(authority).send(server.url("https"))).status == 200
    async with serving(answering(OK), tls=authority.server(HOST)) as server:
        assert (await trusting(authority).send(server.url("https"))).trouble == "tls"


@pytest.mark.parametrize(
    ("name", "until", "self_signed", "why"),
    [
        ("other.example.com", dt.timedelta(days=1), False, "mismatch"),
        (HOST, dt.timedelta(days=-1), False, "expired"),
        (HOST, dt.timedelta(days=1), True, "self-signed"),
    ],
)
async def test_whom_it_does_not_believe(
    authority: Authority, name: str, until: dt.timedelta, self_signed: bool, why: str
) -> None:
    tls = authority.server(name, until=until, self_signed=self_signed)
    async with serving(answering(OK), tls=tls) as server:
        answer = await trusting(authority).send(server.url("https", HOST))
        assert (answer.trouble, answer.ours) == ("tls", False)
        assert why in (answer.detail or "")
        assert server.requests == []


async def test_an_unknown_authority_is_not_believed_by_default(authority: Authority) -> None:
    async with serving(answering(OK), tls=authority.server(HOST)) as server:
        answer = await Bench(["127.0.0.1"]).send(server.url("https", HOST))
    assert answer.trouble == "tls"


async def test_tls_older_than_1_2_is_refused(authority: Authority) -> None:
    tls = authority.server(HOST)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("DEFAULT@SECLEVEL=0")
    async with serving(answering(OK), tls=tls) as server:
        answer = await trusting(authority).send(server.url("https", HOST))
    assert answer.trouble in ("tls", "connect"), "a server may close without an alert"


async def test_a_tls_failure_is_not_tried_again(authority: Authority) -> None:
    async def garbage(visit: Visit) -> None:
        await visit.reader.read(1)
        await visit.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(garbage) as server:
        answer = await trusting(authority).send(server.url("https", HOST))
        assert answer.trouble == "tls"
        assert server.visits == 1


async def test_a_handshake_that_hangs_ends_at_the_deadline(authority: Authority) -> None:
    async def silent(visit: Visit) -> None:
        await visit.gone()

    async with serving(silent) as server:
        answer = await trusting(authority).send(server.url("https", HOST), within=SECOND / 5)
        assert answer.trouble == "timeout"
        assert took(answer) < SECOND
        await server.left.wait()


async def test_a_certificate_that_is_wanted_of_us_is_a_tls_failure(authority: Authority) -> None:
    tls = authority.server(HOST)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.roots)
    async with serving(answering(OK), tls=tls) as server:
        answer = await trusting(authority).send(server.url("https", HOST))
    assert answer.trouble in ("tls", "connect")


@given(st.text(max_size=60) | st.sampled_from(["xn--mnchen-3ya.example", "aa" * 31 + ".com", "[::1]"]))
def test_whatever_host_passes_the_wall_tls_can_verify(host: str) -> None:
    try:
        passed = parse_url(f"https://{host}", private=True).host
    except BlockedError:
        return
    CLIENT_SIDE.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=passed)


async def test_the_machines_authorities_or_certifis_are_trusted() -> None:
    assert tls_context().minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls_context().check_hostname
    assert tls_context().verify_mode is ssl.CERT_REQUIRED
