"""The attacker's list, what a request holds: headers, methods, and ids of others."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.edge.attacking import MUG, TARGET, code, seen, signed
from tests.edge.conftest import Shop
from tests.edge.furnishing import furnished
from tests.edge.signing import Signer, make_key
from tests.people import People
from tests.stack.addresses import Addresses
from tests.stack.paths import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text())
CRLF = "\r\nX-Injected: yes\r\nSet-Cookie: a=b"


# -- headers -------------------------------------------------------------------------------------------------


async def by_hand(api_url: str, lines: list[str], body: bytes = b"") -> bytes:
    """Sends bytes as they are, for clients send no broken headers; answers what comes until the end."""
    at = urlsplit(api_url)
    secure = ssl.create_default_context() if at.scheme == "https" else None
    port = at.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(at.hostname, port, ssl=secure)
    head = "\r\n".join(
        [*lines, f"Host: {at.netloc}", f"Content-Length: {len(body)}", "Connection: close", "", ""]
    )
    writer.write(head.encode("latin-1") + body)
    async with asyncio.timeout(20):
        answer = await reader.read(1_000_000)
        while more := await reader.read(1_000_000):
            answer += more
    writer.close()
    return answer


def request_line(method: str, target: str) -> str:
    return f"{method} /functions/v1/api{target} HTTP/1.1"


@pytest.mark.parametrize("name", ["X-Request-Id", "Idempotency-Key", "X-Min-Seq", "If-Match", "Origin"])
async def test_no_header_of_the_caller_s_becomes_one_of_the_answer(
    shop: Shop, addresses: Addresses, name: str
) -> None:
    """A line break in a value, encoded or bare, and the values that a careless server would echo."""
    for value in (
        "a\rX-Injected: yes",
        "a\nX-Injected: yes",
        "a\x00b",
        f"a{CRLF}",
        "a%0d%0aX-Injected: yes",
        "aä\xff",
    ):
        target = "/pms/v1/products"
        headers = [f"{each}: {text}" for each, text in signed(shop.api.key, "POST", target, MUG)]
        lines = [request_line("POST", target), *headers, f"{name}: {value}"]
        answer = await by_hand(addresses.api_url, lines, MUG)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"x-injected" not in head.lower()
        assert b"set-cookie" not in head.lower()
        assert b"HTTP/1.1" not in body, "a second answer"


async def test_a_path_or_query_with_line_breaks_is_no_header(shop: Shop) -> None:
    for target in (
        "/pms/v1/products/%0d%0aX-Injected:%20yes",
        "/pms/v1/products?sku=%0d%0aX-Injected:%20yes",
    ):
        answer = await shop.api.get(target)
        assert code(answer)[0] in (400, 404)
        assert "x-injected" not in answer.headers


async def test_a_request_id_is_echoed_only_if_it_is_harmless(shop: Shop) -> None:
    for sent, kept in (
        ("order-17.a_b", True),
        ("a b", False),
        ("<script>", False),
        ("a" * 65, False),
        ("a,b", False),
    ):
        answer = await shop.api.get(TARGET, X_Request_Id=sent)
        assert (answer.headers["X-Request-Id"] == sent) is kept
    twice = [*signed(shop.api.key), ("X-Request-Id", "one"), ("X-Request-Id", "two")]
    answer = await shop.api.send_raw("GET", TARGET, headers=twice)
    assert answer.headers["X-Request-Id"] not in ("one", "two", "one, two")


# -- methods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_a_method_is_not_overridden(shop: Shop, name: str) -> None:
    made = (await shop.api.send("POST", "/pms/v1/products", MUG)).json()
    target = f"/pms/v1/products/{made['id']}"
    for method, body in (("GET", None), ("POST", MUG)):
        answer = await shop.api.send(method, target, body, headers={name: "DELETE"})
        assert code(answer) in ((400, "request.method_override"), (405, "route.method"))
    for parameter in ("_method", "method", "http_method"):
        answer = await shop.api.get(f"{target}?{parameter}=DELETE")
        assert code(answer) == (400, "request.invalid")
    assert (await shop.api.get(target)).status_code == 200


async def test_methods_that_no_route_has_are_refused(shop: Shop) -> None:
    for method in ("PATCH", "QUERY", "TRACE", "CONNECT", "LINK"):
        answer = await shop.api.send_raw(method, TARGET, headers=signed(shop.api.key, method))
        assert answer.status_code in (400, 403, 404, 405, 501), method


async def test_head_of_a_path_is_signed_as_head(shop: Shop) -> None:
    """A signature of GET does not open HEAD, or an attacker would learn what is there."""
    answer = await shop.api.send_raw("HEAD", TARGET, headers=signed(shop.api.key, "GET"))
    assert answer.status_code == 401
    good = await shop.api.send("HEAD", TARGET)
    assert (good.status_code, good.content) == (200, b"")
    assert int(good.headers["Content-Length"]) == len((await shop.api.get(TARGET)).content)


# -- ids of others -------------------------------------------------------------------------------------------


def attempts(ids: dict[str, str]) -> list[tuple[str, str, str, Any]]:
    """Every operation of the document with `ids` wherever one can be named: name, method, target, body."""
    body = json.loads(MUG)
    line = {"product_id": ids["product_id"], "location_id": ids["location_id"], "quantity": 1}
    event = {"type": "product.updated", "timestamp": "2026-11-27T09:30:00Z"}
    bodies: dict[str, list[Any]] = {
        "createProduct": [{**body, "sku": "NEW", name: ids[name]} for name in ("parent_id", "category_id")],
        "replaceProduct": [body],
        "bulkProducts": [
            {"rows": [{"id": ids["product_id"], "name": "Mine"}], "all_or_nothing": True},
            {"rows": [{**body, "sku": "NEW", "category_id": ids["category_id"]}], "all_or_nothing": True},
        ],
        "adjustStock": [{"lines": [line]}],
        **{
            f"receive{kind}Event": [
                {
                    **event,
                    "id": f"{kind}-{ids['product_id']}",
                    "data": {"id": ids["product_id"], "name": "Mine"},
                }
            ]
            for kind in ("Product", "Inventory", "Order")
        },
    }
    found: list[tuple[str, str, str, Any]] = []
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            target = path.replace("{id}", ids["order_id" if "/orders/" in path else "product_id"])
            queries = [
                f"?{each['name']}={ids[each['name']]}"
                for each in operation.get("parameters", [])
                if each["in"] == "query" and each["name"] in ids
            ]
            for query in queries or [""]:
                found.extend(
                    (name, method.upper(), target + query, each) for each in bodies.get(name, [None])
                )
    return found


async def test_another_tenant_s_ids_are_as_good_as_made_up_ones_on_every_route(
    shop: Shop, people: People, addresses: Addresses
) -> None:
    theirs = await furnished(shop)
    nothing = {name: str(uuid.uuid4()) for name in theirs}
    key = await make_key(people, await people.make_tenant(), "manager")
    tried = set()
    async with Signer(addresses.api_url, key) as stranger:
        for (name, method, target, body), (_, _, other, made_up) in zip(
            attempts(theirs), attempts(nothing), strict=True
        ):
            one, two = await stranger.send(method, target, body), await stranger.send(method, other, made_up)
            tried.add(name)
            told, known = one.text, two.text
            for mine, its in zip(theirs.values(), nothing.values(), strict=True):
                told, known = told.replace(mine, "…"), known.replace(its, "…")
            assert one.status_code == two.status_code, (name, one.text, two.text)
            if one.is_error:
                assert {**json.loads(told), "request_id": ""} == {**json.loads(known), "request_id": ""}, name
                assert seen(one)[2] == seen(two)[2]
            elif "?" in target:
                assert one.json()["data"] == []
    operations = {each["operationId"] for methods in DOCUMENT["paths"].values() for each in methods.values()}
    assert tried == operations
    # and nothing of it was done
    assert (await shop.api.get(f"/pms/v1/products/{theirs['product_id']}")).json()["name"] == "Mug"
    level = (await shop.api.get(f"/pms/v1/inventory/status?product_id={theirs['product_id']}")).json()["data"]
    assert [each["on_hand"] for each in level] == [5]
