"""The Python client: what it repeats and what it does not, clocks, seqs, bounds, errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from tests.edge.door import BASE, KEY, SECRET, Answer, Door, answered, problem
from worker.gateway.edge.api import EdgeApi, later
from worker.gateway.edge.call import EdgeRules
from worker.gateway.edge.errors import (
    Conflicting,
    EdgeAnswerUnreadable,
    EdgeBusy,
    EdgeError,
    EdgeUnavailable,
    EdgeUnreachable,
    KeyNotAccepted,
    NotAllowed,
    NotThere,
    NotValid,
    VersionStale,
)
from worker.sync.client import PmsClient

PRODUCT = "0193b6e5-6f5b-7cc0-8a4e-6d1a3c9d2f10"
ROW = {"id": PRODUCT, "sku": "BOOT-42", "version": 3}
AWAY = problem(503, "origin.unavailable")


class Slept(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def slept() -> Slept:
    return Slept()


Make = Callable[..., tuple[EdgeApi, Door]]


@pytest.fixture
async def make(slept: Slept) -> AsyncIterator[Make]:
    made: list[EdgeApi] = []

    def client(*answers: Answer, ahead: float = 0, rules: EdgeRules | None = None) -> tuple[EdgeApi, Door]:
        door = Door(answers)
        api = PmsClient.api(
            base_url=BASE,
            key=KEY,
            secret=SECRET,
            rules=rules,
            transport=door,
            now=lambda: door.now() + ahead,
            sleep=slept,
        )
        made.append(api)
        return api, door

    yield client
    for each in made:
        await each.close()


async def test_what_is_signed_is_what_is_sent_whatever_is_in_it(make: Make) -> None:
    api, door = make(answered({"data": [], "next": None}), answered(ROW))
    await api.products(q="Stövel / 50 % + more & <b>", sku="a?b#c", limit=5, low=True, after=None)
    assert door.heard[0].url.params["q"] == "Stövel / 50 % + more & <b>"
    assert door.heard[0].url.params["low"] == "true"
    assert "after" not in door.heard[0].url.params
    await api.product("../orders/7?x=1#y")
    assert door.heard[1].url.raw_path == b"/functions/v1/api/pms/v1/products/..%2Forders%2F7%3Fx%3D1%23y"
    with pytest.raises(ValueError, match="dots alone"):
        await api.product("..")


async def test_a_read_is_tried_again_each_time_signed_anew(make: Make, slept: Slept) -> None:
    api, door = make(AWAY, httpx.ReadError("cut off"), problem(429, "rate.limited"), answered(ROW))
    assert await api.product(PRODUCT) == ROW
    nonces = {request.headers["x-request-nonce"] for request in door.heard}
    assert len(nonces) == len(door.heard) == 4
    assert len(slept) == 3
    assert "idempotency-key" not in door.heard[0].headers


async def test_a_write_is_tried_again_under_one_idempotency_key(make: Make) -> None:
    api, door = make(httpx.ReadError("cut off"), AWAY, answered(ROW, 201))
    assert await api.create_product({"sku": "BOOT-42", "price": Decimal("119.9000")}) == ROW
    keys = [request.headers["idempotency-key"] for request in door.heard]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert b'"price":119.9000' in door.heard[0].content
    await api.create_product({"sku": "BOOT-43"})
    assert door.heard[3].headers["idempotency-key"] != keys[0]
    await api.create_product({"sku": "BOOT-44"}, idempotency_key="mine")
    assert door.heard[4].headers["idempotency-key"] == "mine"


async def test_a_proxy_that_sends_twice_does_not_make_a_write_fail(make: Make) -> None:
    api, door = make(answered(ROW))
    inner = door.handle_async_request

    async def twice_at_first(request: httpx.Request) -> httpx.Response:
        if not door.heard:
            await inner(request)
        return await inner(request)

    door.handle_async_request = twice_at_first  # type: ignore[method-assign]  # the proxy
    await api.delete_product(PRODUCT)
    assert len({request.headers["idempotency-key"] for request in door.heard}) == 1


async def test_what_would_be_refused_again_is_not_tried_again(make: Make, slept: Slept) -> None:
    api, door = make(problem(409, "stock.insufficient"))
    with pytest.raises(Conflicting) as refused:
        await api.adjust_stock([{"product_id": PRODUCT, "delta": -1}])
    assert refused.value.code == "stock.insufficient"
    assert len(door.heard) == 1
    assert not slept


async def test_it_gives_up_and_pauses_grow_within_their_cap(make: Make, slept: Slept) -> None:
    rules = EdgeRules(tries=8, first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=4))
    api, door = make(AWAY, rules=rules)
    with pytest.raises(EdgeUnavailable):
        await api.order(PRODUCT)
    assert len(door.heard) == 8
    assert [pause <= limit for pause, limit in zip(slept, (1, 2, 4, 4, 4, 4, 4), strict=True)] == [True] * 7
    assert len(set(slept)) > 1


async def test_retry_after_is_obeyed_or_told(make: Make, slept: Slept) -> None:
    soon = problem(429, "rate.limited", headers={"retry-after": "30"})
    api, door = make(soon, answered(ROW))
    await api.product(PRODUCT)
    assert 30 <= slept[0] < 46

    dated = problem(503, "origin.unavailable", headers={"retry-after": "Thu, 27 Nov 2025 00:00:20 GMT"})
    api, door = make(dated, answered(ROW))
    await api.product(PRODUCT)
    assert slept[1] >= 20

    api, door = make(problem(429, "rate.limited", headers={"retry-after": "3600"}))
    with pytest.raises(EdgeBusy) as refused:
        await api.product(PRODUCT)
    assert refused.value.retry_after == timedelta(hours=1)
    assert len(door.heard) == 1


@pytest.mark.parametrize("ahead", [4000, -86400])
async def test_a_wrong_clock_is_corrected_once(make: Make, slept: Slept, ahead: float) -> None:
    api, door = make(answered(ROW), ahead=ahead)
    await api.product(PRODUCT)
    assert len(door.heard) == 2
    await api.product(PRODUCT)
    assert len(door.heard) == 3, "the correction is kept"
    assert not slept, "and costs no pause"


@pytest.mark.parametrize(
    "lie", ["1e999", "NaN", "99999999999999", "9" * 401, "-5", "null", '"soon"', "1764291601"]
)
async def test_a_time_that_is_none_or_of_another_day_is_not_taken(make: Make, lie: str) -> None:
    told = f'{{"code": "auth.clock_skew", "server_time": {lie}}}'.encode()
    api, door = make(httpx.Response(401, stream=httpx.ByteStream(told)), answered(ROW))
    with pytest.raises(KeyNotAccepted) as refused:
        await api.product(PRODUCT)
    assert refused.value.code == "auth.clock_skew"
    assert len(door.heard) == 1
    await api.product(PRODUCT)
    assert len(door.heard) == 2, "the door refuses what is signed at another time"


async def test_a_time_that_helped_nothing_is_not_kept(make: Make) -> None:
    lie = problem(401, "auth.clock_skew", server_time=1_764_201_600 + 250)
    api, door = make(lie, lie, answered(ROW))
    with pytest.raises(KeyNotAccepted):
        await api.product(PRODUCT)
    await api.product(PRODUCT)
    times = [int(request.headers["x-request-timestamp"]) - 1_764_201_600 for request in door.heard]
    assert times == [0, 250, 0]


async def test_reads_ask_for_what_was_written(make: Make) -> None:
    api, door = make(answered(ROW, X_Seq="e1:7"), answered(ROW, X_Seq="e1:6"), answered(ROW, X_Seq="e1:99"))
    await api.publish_product(PRODUCT)
    await api.delete_product(PRODUCT)
    await api.product(PRODUCT)
    assert [request.headers.get("x-min-seq") for request in door.heard] == [None, None, "e1:7"]
    assert api.min_seq == "e1:7", "a read is nobody's write"


async def test_reads_after_a_write_of_an_unknown_place_go_past_the_cache(make: Make) -> None:
    known, unknown = answered(ROW, X_Seq="e1:7"), answered(ROW)
    api, door = make(known, unknown, unknown, unknown, unknown, known, unknown)
    await api.publish_product(PRODUCT)
    await api.send_webhook("order", {"id": "evt_1"})
    await api.product(PRODUCT)
    await api.publish_product(PRODUCT)  # without X-Seq
    await api.product(PRODUCT)
    await api.publish_product(PRODUCT)
    await api.product(PRODUCT)
    said = [request.headers.get("cache-control") for request in door.heard]
    assert said == [None, None, None, None, "no-cache", None, None]
    assert door.heard[4].headers["x-min-seq"] == "e1:7"


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (problem(504, "origin.timeout"), "no-cache"),
        (httpx.ReadError("cut off"), "no-cache"),
        (problem(429, "rate.limited"), "no-cache"),
        (httpx.Response(201, stream=httpx.ByteStream(b"<html>")), "no-cache"),
        (problem(409, "product.sku_living"), None),
        (problem(400, "request.invalid"), None),
    ],
)
async def test_reads_after_a_write_of_unknown_fate_go_past_the_cache(
    make: Make, ending: Answer, said: str | None
) -> None:
    api, door = make(ending, answered(ROW, X_Seq="e1:7"), rules=EdgeRules(tries=1))
    with pytest.raises(EdgeError):
        await api.create_product({"sku": "BOOT-42"})
    await api.publish_product(PRODUCT)  # its place says nothing of what may yet be done
    await api.product(PRODUCT)
    assert door.heard[-1].headers.get("cache-control") == said


async def test_a_write_that_is_given_up_may_be_done_all_the_same(make: Make) -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise asyncio.CancelledError

    api, door = make(never, answered(ROW))
    with pytest.raises(asyncio.CancelledError):
        await api.create_product({"sku": "BOOT-42"})
    await api.product(PRODUCT)
    assert door.heard[-1].headers.get("cache-control") == "no-cache"


@pytest.mark.parametrize(
    ("one", "other", "further"),
    [
        (None, "e:1", "e:1"),
        ("e:1", None, "e:1"),
        ("e:9", "e:10", "e:10"),
        ("e:10", "e:9", "e:10"),
        ("e:10", "f:1", "f:1"),
        ("odd", "odder", "odder"),
    ],
)
def test_the_later_of_two_seqs(one: str | None, other: str | None, further: str | None) -> None:
    assert later(one, other) == further


async def test_pages_are_followed_to_the_end(make: Make) -> None:
    api, door = make(
        answered({"data": [{"n": 1}, {"n": 2}], "next": "c1"}), answered({"data": [{"n": 3}], "next": None})
    )
    assert [row["n"] async for row in api.every_level(limit=2, location="OSL")] == [1, 2, 3]
    assert [request.url.params.get("after") for request in door.heard] == [None, "c1"]
    assert door.heard[1].url.params["location"] == "OSL"


async def test_versions_travel_as_etags(make: Make) -> None:
    unchanged = httpx.Response(304, headers={"etag": '"3"'}, stream=httpx.ByteStream(b""))
    api, door = make(unchanged, answered(ROW), problem(412, "version.stale"))
    assert await api.product(PRODUCT, if_none_match='"3"') is None
    await api.replace_product(PRODUCT, {"sku": "BOOT-42"}, expected_version=3)
    assert [request.headers.get("if-match") for request in door.heard] == [None, '"3"']
    with pytest.raises(VersionStale):
        await api.delete_product(PRODUCT, expected_version=3)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NotValid),
        (401, KeyNotAccepted),
        (403, NotAllowed),
        (404, NotThere),
        (409, Conflicting),
        (422, NotValid),
    ],
)
async def test_errors_carry_what_the_adapter_said(make: Make, status: int, kind: type[EdgeError]) -> None:
    failures = [{"in": "body", "field": "price", "code": "too_small", "detail": "is below 0"}]
    api, _ = make(problem(status, "some.code", hint="do this", failures=failures))
    with pytest.raises(kind) as refused:
        await api.create_product({})
    error = refused.value
    assert (error.code, error.status, error.detail, error.hint) == ("some.code", status, "why", "do this")
    assert (error.failures, error.request_id) == (tuple(failures), "r-1")
    assert str(error) == "some.code - why (do this)"
    assert SECRET not in repr(error)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"[" * 100_000, b'{"code": 7, "failures": "x"}'])
async def test_an_error_of_any_form_is_an_error(make: Make, body: bytes) -> None:
    api, _ = make(httpx.Response(403, stream=httpx.ByteStream(body)))
    with pytest.raises(NotAllowed):
        await api.order(PRODUCT)


async def test_an_answer_of_nobody_we_know_names_the_address(make: Make) -> None:
    """The first mistake of all is a wrong base URL."""
    api, _ = make(httpx.Response(404, stream=httpx.ByteStream(b"<html>")))
    with pytest.raises(NotThere) as refused:
        await api.products(sku="SECRET-SKU")
    url = f"{BASE}/pms/v1/products"
    assert (refused.value.code, refused.value.detail) == ("http.404", f"no problem document came from {url}")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, stream=httpx.ByteStream(b"not json")),
        httpx.Response(200, stream=httpx.ByteStream(b"[" * 100_000)),
        httpx.Response(200, stream=httpx.ByteStream(b'["no object"]')),
        httpx.Response(200, stream=httpx.ByteStream(b" " * 5000)),
        httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b")),
        httpx.Response(302, headers={"location": "https://elsewhere.test/"}, stream=httpx.ByteStream(b"")),
    ],
)
async def test_what_cannot_be_read_is_refused_and_not_asked_for_again(
    make: Make, answer: httpx.Response
) -> None:
    api, door = make(answer, rules=EdgeRules(answer_bytes=4096))
    with pytest.raises(EdgeError) as refused:
        await api.product(PRODUCT)
    assert isinstance(refused.value, EdgeAnswerUnreadable)
    assert len(door.heard) == 1


async def test_an_answer_without_end_is_cut_off(make: Make) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b" " * 1024

    class Endless(httpx.AsyncByteStream):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return endless()

    api, _ = make(httpx.Response(200, stream=Endless()), rules=EdgeRules(answer_bytes=65536))
    with pytest.raises(EdgeAnswerUnreadable):
        await api.product(PRODUCT)
    assert sent <= 65536 + 1024


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever(make: Make) -> None:
    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    rules = EdgeRules(one_try=timedelta(milliseconds=20), tries=2)
    api, door = make(httpx.Response(200, stream=Silent()), rules=rules)
    with pytest.raises(EdgeUnreachable):
        await api.product(PRODUCT)
    assert len(door.heard) == 2


@pytest.mark.parametrize("base", ["pms.test", "ftp://pms.test", "https://pms.test/api?x=1", ""])
def test_an_address_of_another_form_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        EdgeApi(base_url=base, key=KEY, secret=SECRET)


async def test_every_route_is_reachable(make: Make) -> None:
    api, door = make(answered({"data": [], "next": None}))
    calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("GET /products", api.products),
        ("POST /products/bulk", lambda: api.upsert_products([{"sku": "A"}])),
        ("PUT /products/" + PRODUCT, lambda: api.replace_product(PRODUCT, {})),
        ("POST /inventory/adjust", lambda: api.adjust_stock([], reason="count")),
        ("GET /inventory/status", api.stock_status),
        ("GET /inventory/history", api.stock_history),
        ("GET /orders/7", lambda: api.order("7")),
        ("POST /webhook/order", lambda: api.send_webhook("order", {"id": "evt_1"})),
        ("GET /health", api.health),
        ("GET /openapi.json", api.openapi),
    ]
    for route, call in calls:
        await call()
        request = door.heard[-1]
        assert f"{request.method} {request.url.path.removeprefix('/functions/v1/api/pms/v1')}" == route
