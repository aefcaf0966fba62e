"""The attacker's list, what is signed: altered, repeated, early, late or too large, it is refused.

Where telling would help, the answer is one and the same, but for the request's own id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import httpx
import pytest

from tests.edge.attacking import MUG, STRANGER, TARGET, Signed, code, refusal_of_a_stranger, seen, signed
from tests.edge.conftest import Shop
from tests.edge.signing import Signer, make_key
from tests.people import People

# -- what is signed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/pms/v1/products", MUG.replace(b"19.90", b"00.01")),
        ("POST", "/pms/v1/products", MUG + b" "),
        ("POST", "/pms/v1/products", b""),
        ("POST", "/pms/products", MUG),
        ("POST", "/pms/v1/products/bulk", MUG),
        ("PUT", f"/pms/v1/products/{uuid.UUID(int=1)}", MUG),
    ],
    ids=["a price", "a space", "no body", "another version", "another path", "another method"],
)
async def test_an_altered_write_is_a_stranger_s(shop: Shop, method: str, target: str, body: bytes) -> None:
    headers = signed(shop.api.key, "POST", "/pms/v1/products", MUG)
    answer = await shop.api.send_raw(method, target, body, headers)
    assert seen(answer) == await refusal_of_a_stranger(shop.api)
    assert (await shop.api.get("/pms/products")).json()["data"] == []
    # the signature is spent by nobody: as it was meant it still holds
    assert (await shop.api.send_raw("POST", "/pms/v1/products", MUG, headers)).status_code == 201


@pytest.mark.parametrize(
    "target",
    [
        "/pms/v1/products?limit=2",
        "/pms/v1/products?limit=1&limit=1",
        "/pms/v1/products?limit=%31",
        "/pms/v1/products?limit=1&",
        "/pms/v1/products",
        "/pms/v1/products?",
        "/pms/products?limit=1",
        "/pms/v1/inventory/status?limit=1",
    ],
)
async def test_an_altered_read_is_a_stranger_s(shop: Shop, target: str) -> None:
    answer = await shop.api.send_raw("GET", target, headers=signed(shop.api.key))
    assert seen(answer) == await refusal_of_a_stranger(shop.api)


@pytest.mark.parametrize("at", [-240, 240])
async def test_a_timestamp_or_nonce_that_was_exchanged_is_a_stranger_s(shop: Shop, at: int) -> None:
    headers = dict(signed(shop.api.key))
    for name, value in (
        ("X-Request-Timestamp", str(int(headers["X-Request-Timestamp"]) + at)),
        ("X-Request-Nonce", uuid.uuid4().hex),
    ):
        answer = await shop.api.send_raw("GET", TARGET, headers=list({**headers, name: value}.items()))
        assert seen(answer) == await refusal_of_a_stranger(shop.api)


@pytest.mark.parametrize("seconds", [-305, -86400, 305, 86400])
async def test_the_past_and_the_future_are_told_the_time(shop: Shop, seconds: int) -> None:
    now = datetime.now(UTC).timestamp()
    answer = await shop.api.send_raw("GET", TARGET, headers=signed(shop.api.key, at=now + seconds))
    assert code(answer) == (401, "auth.clock_skew")
    assert abs(answer.json()["server_time"] - now) < 30
    # nor does it tell whether the key is one
    stranger = await shop.api.send_raw("GET", TARGET, headers=signed(STRANGER, at=now + seconds))
    assert code(stranger) == (401, "auth.clock_skew")


@pytest.mark.parametrize(
    "name", ["X-API-Key", "X-Request-Timestamp", "X-Request-Nonce", "X-Request-Signature"]
)
async def test_missing_doubled_and_odd_headers_are_refused(shop: Shop, name: str) -> None:
    headers = signed(shop.api.key)
    value = dict(headers)[name]
    without = [each for each in headers if each[0] != name]
    ways: list[tuple[Signed, str]] = [
        (without, "auth.header_missing"),
        ([*without, (name, "")], "auth.header_missing"),
        ([*headers, (name, value)], "auth.header_invalid"),
        ([(name, "x"), *headers], "auth.header_invalid"),
        ([*without, (name, f"{value}, {value}")], "auth.header_invalid"),
        ([*without, (name, value + "/")], "auth.header_invalid"),
        ([*without, (name, "v2=" + value)], "auth.header_invalid"),
        ([*without, (name, value * 20)], "auth.header_invalid"),
    ]
    for sent, expected in ways:
        answer = await shop.api.send_raw("GET", TARGET, headers=sent)
        assert code(answer) == (400, expected), sent
        assert name in answer.json()["detail"]


# -- once ----------------------------------------------------------------------------------------------------


async def test_a_request_that_is_sent_again_is_refused_and_does_nothing(shop: Shop) -> None:
    headers = signed(shop.api.key, "POST", "/pms/v1/products", MUG)
    assert (await shop.api.send_raw("POST", "/pms/v1/products", MUG, headers)).status_code == 201
    again = await shop.api.send_raw("POST", "/pms/v1/products", MUG, headers)
    assert code(again) == (401, "auth.replayed")
    # nor may the nonce sign anything else
    other = signed(shop.api.key, nonce=dict(headers)["X-Request-Nonce"])
    assert code(await shop.api.send_raw("GET", TARGET, headers=other)) == (401, "auth.replayed")


async def test_of_many_that_are_sent_at_once_one_is_let_in(shop: Shop) -> None:
    headers = signed(shop.api.key)
    answers = await asyncio.gather(*(shop.api.send_raw("GET", TARGET, headers=headers) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 19]


async def test_another_tenant_may_use_the_same_nonce(shop: Shop, people: People) -> None:
    other = await make_key(people, await people.make_tenant())
    nonce = uuid.uuid4().hex
    for key in (shop.api.key, other):
        answer = await shop.api.send_raw("GET", TARGET, headers=signed(key, nonce=nonce))
        assert answer.status_code == 200


# -- how much ------------------------------------------------------------------------------------------------


async def pieces(size: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        sent.append(65536)
        yield b" " * 65536


Oversized = Callable[[Signer, str, int], Awaitable[httpx.Response]]


async def with_length(api: Signer, target: str, size: int) -> httpx.Response:
    body = b" " * size
    return await api.send_raw("POST", target, body, signed(api.key, "POST", target, body))


async def chunked(api: Signer, target: str, size: int) -> httpx.Response:
    body = b" " * size
    return await api.send_raw("POST", target, pieces(size, []), signed(api.key, "POST", target, body))


@pytest.mark.parametrize("way", [with_length, chunked])
@pytest.mark.parametrize(("target", "most"), [("/pms/v1/products", 1), ("/pms/v1/products/bulk", 5)])
async def test_a_body_that_is_too_large_is_refused(
    shop: Shop, way: Oversized, target: str, most: int
) -> None:
    mib = 1024 * 1024
    assert code(await way(shop.api, target, most * mib + 65536)) == (413, "body.too_large")
    assert code(await way(shop.api, target, most * mib)) == (400, "body.malformed")
