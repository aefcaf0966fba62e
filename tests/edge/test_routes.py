"""The routes of the edge function: signed requests, the real adapter, the real PostgREST."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx

from tests.edge.conftest import Shop
from tests.edge.signing import Signer, make_key
from tests.people import People
from tests.stack.addresses import Addresses

MUG = {"sku": "MUG", "name": "Mug", "price": "19.90", "currency": "USD"}


RUNS = list(enumerate([0, 10, 79, 80, 81, 300, 499, 499]))
"""Of long names: the number of their last letters, and how many letters they share."""


async def created(shop: Shop, **changes: Any) -> dict[str, Any]:
    answer = await shop.api.send("POST", "/pms/products", {**MUG, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def stocked(shop: Shop, quantity: int = 5, **changes: Any) -> dict[str, Any]:
    product = await created(shop, **changes)
    line = {"product_id": product["id"], "location_id": shop.location, "quantity": quantity}
    answer = await shop.api.send("POST", "/pms/inventory/adjust", {"lines": [line], "reason": "found"})
    assert answer.status_code == 200, answer.text
    return product


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return answer.status_code, str(answer.json()["code"])


# -- products ------------------------------------------------------------------------------------------------


async def test_a_product_lives_through_its_routes(shop: Shop) -> None:
    made = await shop.api.send("POST", "/pms/v1/products", MUG)
    product = made.json()
    assert made.status_code == 201
    assert (made.headers["ETag"], product["version"], product["status"]) == ('"1"', 1, "draft")
    where = made.headers["Location"].removeprefix("/functions/v1/api")
    assert where == f"/pms/v1/products/{product['id']}"

    read = await shop.api.send("GET", where, headers={"X-Min-Seq": made.headers["X-Seq"]})
    assert read.json() == product
    unchanged = await shop.api.send("GET", where, headers={"If-None-Match": 'W/"9", "1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")

    put = await shop.api.send("PUT", where, {**MUG, "name": "Big mug"}, {"If-Match": '"1"'})
    assert (put.status_code, put.json()["name"], put.headers["ETag"]) == (200, "Big mug", '"2"')
    stale = await shop.api.send("PUT", where, MUG, {"If-Match": '"1"'})
    assert code_of(stale) == (412, "version.stale")

    published = await shop.api.send("POST", f"{where}/publish", headers={"If-Match": '"2"'})
    assert (published.status_code, published.json()["status"]) == (200, "active")
    gone = await shop.api.send("DELETE", where, headers={"If-Match": "*"})
    assert (gone.status_code, gone.content) == (204, b"")
    again = await shop.api.send("GET", where, headers={"X-Min-Seq": gone.headers["X-Seq"]})
    assert code_of(again) == (404, "product.not_found")


async def test_money_keeps_all_its_digits(shop: Shop) -> None:
    """A double holds 16 of them: a naive adapter answers 12345678901234.568 or 19.9."""
    for price in ("12345678901234.56", "19.90"):
        body = f'{{"sku":"S{price}","name":"Dear","price":{price}}}'.encode()
        made = await shop.api.send("POST", "/pms/products", body)
        assert f'"price":{price}00,' in made.text
        read = await shop.api.get(f"/pms/products/{made.json()['id']}?fields=price")
        assert read.text == f'{{"price":{price}00}}'


async def test_an_idempotency_key_creates_once_and_stands_for_one_request(shop: Shop) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = await shop.api.send("POST", "/pms/products", MUG, key)
    second = await shop.api.send("POST", "/pms/products", MUG, key)
    other = await shop.api.send("POST", "/pms/products", {**MUG, "sku": "OTHER"}, key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert code_of(other) == (422, "idempotency.key_reused")
    replaced = await shop.api.send("PUT", f"/pms/products/{first.json()['id']}", {**MUG, "price": "1"}, key)
    assert code_of(replaced) == (422, "idempotency.key_reused"), "nor for another operation"
    without = await shop.api.send("POST", "/pms/products", MUG)
    assert code_of(without) == (409, "product.sku_living")
    assert without.json()["failures"][0]["field"] == "sku"


async def test_the_database_s_rules_arrive_with_all_their_failures(shop: Shop) -> None:
    answer = await shop.api.send("POST", "/pms/products", {"sku": " A ", "name": "A", "price": "1.999"})
    assert code_of(answer) == (422, "product.invalid")
    assert {failure["field"] for failure in answer.json()["failures"]} >= {"sku", "price"}
    draft = await created(shop, price="0")
    refused = await shop.api.send("POST", f"/pms/products/{draft['id']}/publish")
    assert code_of(refused) == (422, "product.not_publishable")
    assert refused.json()["failures"][0]["code"] == "publish.price_missing"


async def test_pages_hold_each_product_once_in_every_order(shop: Shop) -> None:
    names = ['a,"b"', "a(b)", "a.b", "a*b", "a\\b", "Ä", "a%", "z"]
    rows = [{"sku": f"S{n}", "name": name, "price": str(n % 3)} for n, name in enumerate(names)]
    bulk = await shop.api.send("POST", "/pms/products/bulk", {"rows": rows})
    assert bulk.json()["created"] == len(names), bulk.text
    for sort in ("name", "-name", "price", "-price", "sku", "-created_at", "updated_at"):
        seen: list[str] = []
        after = ""
        for _ in range(len(names)):
            page = (await shop.api.get(f"/pms/products?limit=3&fields=sku&sort={sort}{after}")).json()
            seen += [row["sku"] for row in page["data"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert sorted(seen) == [row["sku"] for row in rows], sort
        if sort in ("sku", "-price"):
            assert seen[0] in ("S0", "S2", "S5")


async def test_long_names_that_begin_alike_are_paged_each_once(shop: Shop) -> None:
    """A name of 500 letters of three bytes takes 4.5 kB of a URL, and a page's place names it twice."""
    long = [letter * shared + chr(0x4E00 + n) * (500 - shared) for letter in "山川" for n, shared in RUNS]
    names = [*long, long[0], long[0], "🙂" * 250, "🙂" * 250, '"' * 500, "a"]
    rows = [{"sku": f"L{n:02}", "name": name} for n, name in enumerate(names)]
    bulk = await shop.api.send("POST", "/pms/products/bulk", {"rows": rows})
    assert bulk.json()["created"] == len(names), bulk.text
    for sort in ("name", "-name"):
        seen: list[dict[str, str]] = []
        after: str | None = ""
        while after is not None and len(seen) <= len(names):
            page = await shop.api.get(f"/pms/products?limit=2&fields=sku,name&sort={sort}{after}")
            assert page.status_code == 200, page.text
            seen += page.json()["data"]
            after = page.json()["next"] and f"&after={page.json()['next']}"
        assert sorted(row["sku"] for row in seen) == [row["sku"] for row in rows], sort
        heads = [row["name"][:80] for row in seen]
        assert [head for n, head in enumerate(heads) if head not in heads[:n]] == [
            head for head, _ in itertools.groupby(heads)
        ], "names that begin alike stand together"


async def test_a_cursor_of_another_order_or_a_made_up_one_is_no_sql_error(shop: Shop) -> None:
    await created(shop)
    await created(shop, sku="CUP")
    cursor = (await shop.api.get("/pms/products?limit=1")).json()["next"]
    for query in (
        f"sort=-name&after={cursor}",
        f"after={cursor[:-1]}A",
        f"after=A{cursor[1:]}",
        "after=AAAA",
    ):
        assert code_of(await shop.api.get(f"/pms/products?limit=1&{query}")) == (400, "cursor.invalid")
    stock = await shop.api.get(f"/pms/inventory/status?after={cursor}")
    assert code_of(stock) == (400, "cursor.invalid")


async def test_a_filter_s_value_never_becomes_an_operator(shop: Shop) -> None:
    hostile = ["a,b", "(x)", 'q"uote', "is.null", "*", "x.eq.y", 'x"),sku.neq.(', "%25", "a&b=c", "null"]
    for sku in hostile:
        await created(shop, sku=sku)
    for sku in hostile:
        answer = await shop.api.get(f"/pms/products?fields=sku&sku={quote(sku)}")
        assert answer.json() == {"data": [{"sku": sku}], "next": None}, sku
    none = await shop.api.get("/pms/products?sku=neq.x")
    assert none.json()["data"] == []


async def test_filters_narrow_a_list(shop: Shop) -> None:
    parent = await created(shop, price="5")
    await created(shop, sku="V", parent_id=parent["id"], price="7.5")

    async def skus(query: str) -> list[str]:
        answer = await shop.api.get(f"/pms/products?fields=sku&sort=sku&{query}")
        assert answer.status_code == 200, answer.text
        return [row["sku"] for row in answer.json()["data"]]

    assert await skus("parent_id=null") == ["MUG"]
    assert await skus(f"parent_id={parent['id'].upper()}") == ["V"]
    assert await skus("price_min=5&price_max=7.4999") == ["MUG"]
    assert await skus("status=active") == []
    assert await skus("created_since=2020-01-01T00:00:00%2B02:00") == ["MUG", "V"]
    assert await skus("updated_since=2999-01-01T00:00:00Z") == []


async def test_bulk_answers_row_by_row_or_all_or_nothing(shop: Shop) -> None:
    rows = [{"sku": "A", "name": "A"}, {"sku": "B", "name": "B", "price": -1}, {"sku": "C", "name": "C"}]
    whole = await shop.api.send("POST", "/pms/products/bulk", {"rows": rows, "all_or_nothing": True})
    assert code_of(whole) == (422, "product.rows_refused")
    assert [failure["line"] for failure in whole.json()["failures"]] == [2]
    assert (await shop.api.get("/pms/products")).json()["data"] == []
    each = (await shop.api.send("POST", "/pms/products/bulk", {"rows": rows})).json()
    assert (each["created"], each["refused"]) == (2, 1)
    assert [row["result"] for row in each["rows"]] == ["created", "refused", "created"]
    odd = await shop.api.send(
        "POST", "/pms/products/bulk", {"rows": [{"sku": 1}, {"sku": "D", "colour": "x"}]}
    )
    assert [failure["field"] for failure in odd.json()["failures"]] == ["rows.0.sku", "rows.1.colour"]


# -- stock and orders ----------------------------------------------------------------------------------------


async def test_stock_is_told_per_place_and_its_history_newest_first(shop: Shop) -> None:
    product = await stocked(shop, 5)
    await stocked(shop, 1, sku="CUP")
    level = {"safety": 1, "reorder_point": 4}
    await shop.owner.patch(f"/stock_levels?product_id=eq.{product['id']}", json=level)
    line = {"product_id": product["id"], "location_id": shop.location, "quantity": -2}
    adjusted = await shop.api.send("POST", "/pms/inventory/adjust", {"lines": [line]})
    assert [level["on_hand"] for level in adjusted.json()["levels"]] == [3]

    seq = {"X-Min-Seq": adjusted.headers["X-Seq"]}
    page = (await shop.api.send("GET", "/pms/inventory/status?low=true&location=MAIN", headers=seq)).json()
    assert [(row["sku"], row["on_hand"], row["available"], row["low"]) for row in page["data"]] == [
        ("MUG", 3, 2, True)
    ]
    other = (await shop.api.send("GET", "/pms/inventory/status?low=false", headers=seq)).json()
    assert [(row["sku"], row["location"], row["reorder_point"]) for row in other["data"]] == [
        ("CUP", "MAIN", None)
    ]

    history = (await shop.api.get(f"/pms/inventory/history?product_id={product['id']}&limit=1")).json()
    assert [(row["quantity"], row["on_hand_after"], row["actor"]) for row in history["data"]] == [
        (-2, 3, shop.api.key.id)
    ]
    older = (
        await shop.api.get(f"/pms/inventory/history?product_id={product['id']}&after={history['next']}")
    ).json()
    assert [(row["quantity"], row["reason"]) for row in older["data"]] == [(5, "found")]
    until = history["data"][0]["created_at"].replace("+", "%2B")
    before = (await shop.api.get(f"/pms/inventory/history?sku=MUG&until={until}")).json()
    assert [row["quantity"] for row in before["data"]] == [5]


async def test_stock_never_falls_below_nothing(shop: Shop) -> None:
    product = await stocked(shop, 5)
    line = {"product_id": product["id"], "location_id": shop.location, "quantity": -6}
    answer = await shop.api.send("POST", "/pms/inventory/adjust", {"lines": [line]})
    assert code_of(answer) == (409, "stock.insufficient")
    assert f"Line 1: product {product['id']} at location {shop.location} has 5" in answer.json()["detail"]
    held = await shop.api.send("DELETE", f"/pms/products/{product['id']}")
    assert code_of(held) == (409, "product.held")
    assert held.json()["failures"][0]["holder"] == "stock"


async def test_an_order_comes_with_its_lines(shop: Shop) -> None:
    product = await stocked(shop, 5)
    await shop.api.send("POST", f"/pms/products/{product['id']}/publish")
    lines = [{"product_id": product["id"], "quantity": 2}]
    body = {"p_tenant_id": str(shop.tenant.id), "p_lines": lines, "p_customer": {"name": "Ann"}}
    placed = (await shop.owner.post("/rpc/place_order", json=body)).raise_for_status().json()
    answer = await shop.api.get(f"/pms/orders/{placed['id']}")
    order = answer.json()
    assert (order["number"], order["customer"], order["legal_events"]) == (
        "A-000001",
        {"name": "Ann"},
        ["cancel", "pay"],
    )
    assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [("MUG", 2)]
    assert '"total":39.8000' in answer.text
    assert answer.headers["ETag"] == f'"{order["version"]}"'
    assert code_of(await shop.api.get(f"/pms/orders/{uuid.uuid4()}")) == (404, "order.not_found")


# -- who may what --------------------------------------------------------------------------------------------


async def test_another_tenant_s_ids_are_ids_of_nothing(
    shop: Shop, people: People, addresses: Addresses
) -> None:
    product = await stocked(shop)
    key = await make_key(people, await people.make_tenant(), "manager")
    async with Signer(addresses.api_url, key) as stranger:
        one = f"/pms/products/{product['id']}"
        assert code_of(await stranger.get(one)) == (404, "product.not_found")
        assert code_of(await stranger.send("PUT", one, MUG)) == (404, "product.not_found")
        assert code_of(await stranger.send("DELETE", one)) == (404, "product.not_found")
        assert code_of(await stranger.send("POST", f"{one}/publish")) == (404, "product.not_found")
        line = {"product_id": product["id"], "location_id": shop.location, "quantity": 1}
        adjusted = await stranger.send("POST", "/pms/inventory/adjust", {"lines": [line]})
        assert code_of(adjusted) == (404, "stock.not_found")
        for target in (
            "products?sku=MUG",
            f"inventory/status?product_id={product['id']}",
            "inventory/history",
        ):
            assert (await stranger.get(f"/pms/{target}")).json()["data"] == []


async def test_scopes_cut_a_role_down(shop: Shop, people: People, addresses: Addresses) -> None:
    product = await created(shop)
    scopes = ["products.read", "tenant.read"]
    key = await make_key(people, shop.tenant, "manager", p_scopes=scopes)
    async with Signer(addresses.api_url, key) as reader:
        assert (await reader.get("/pms/products")).status_code == 200
        for method, target, body in (
            ("POST", "/pms/products", MUG),
            ("DELETE", f"/pms/products/{product['id']}", None),
            ("GET", "/pms/inventory/status", None),
        ):
            assert code_of(await reader.send(method, target, body)) == (403, "access.denied")


async def test_a_revoked_key_is_nobody_s_at_once(shop: Shop) -> None:
    assert (await shop.api.get("/pms/products")).status_code == 200
    body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": shop.api.key.id}
    (await shop.owner.post("/rpc/revoke_api_key", json=body)).raise_for_status()
    assert code_of(await shop.api.get("/pms/products")) == (401, "auth.invalid")


async def test_both_secrets_sign_while_they_overlap(shop: Shop, addresses: Addresses) -> None:
    body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": shop.api.key.id}
    rotated = (await shop.owner.post("/rpc/rotate_api_key", json=body)).raise_for_status().json()
    newer = type(shop.api.key)(shop.api.key.id, shop.api.key.name, rotated["secret"])
    async with Signer(addresses.api_url, newer) as with_new:
        assert (await with_new.get("/pms/products")).status_code == 200
        assert (await shop.api.get("/pms/products")).status_code == 200
        ended = {**body, "p_overlap": "0 seconds"}
        (await shop.owner.post("/rpc/rotate_api_key", json=ended)).raise_for_status()
        for signer in (with_new, shop.api):
            assert code_of(await signer.get("/pms/products")) == (401, "auth.invalid")


async def test_the_encoding_that_was_sent_is_what_is_signed(shop: Shop) -> None:
    await created(shop, sku="a b/c", name="Ä")
    for spelling in ("a%20b%2Fc", "a+b/c", "%61%20b/c"):
        answer = await shop.api.get(f"/pms/products?sku={spelling}&fields=name")
        assert answer.json()["data"] == [{"name": "Ä"}], answer.text


async def test_text_that_postgres_cannot_hold_is_no_server_error(shop: Shop) -> None:
    for name in ("a\\u0000b", "\\ud800"):
        body = f'{{"sku":"X","name":"{name}"}}'.encode()
        assert code_of(await shop.api.send("POST", "/pms/products", body))[0] == 400
        inside = f'{{"sku":"X","name":"n","attributes":{{"a":"{name}"}}}}'.encode()
        assert code_of(await shop.api.send("POST", "/pms/products", inside))[0] in (400, 422)


async def test_the_document_is_served_and_links_to_postgrest_s(addresses: Addresses) -> None:
    async with httpx.AsyncClient(base_url=f"{addresses.api_url}/functions/v1/api", timeout=20) as client:
        answer = await client.get("/pms/openapi.json")
        health = await client.get("/pms/v1/health")
    told = json.loads(answer.text)
    assert (answer.status_code, told["openapi"]) == (200, "3.1.0")
    assert told["externalDocs"]["url"].endswith("/rest/v1/")
    assert health.json()["checks"]["database"]["status"] == "ok"


async def test_an_inbound_event_is_stored_once_whatever_its_type(shop: Shop) -> None:
    product = await created(shop)
    event = {
        "id": "evt_1",
        "type": "product.updated",
        "timestamp": "2026-11-27T09:30:00Z",
        "data": {"id": product["id"], "name": "From afar"},
    }
    first = await shop.api.send("POST", "/pms/webhook/product", event)
    second = await shop.api.send("POST", "/pms/webhook/product", event)
    assert (first.status_code, second.status_code) == (202, 202), first.text
    assert (first.json()["repeated"], second.json()["repeated"]) == (False, True)
    other = await shop.api.send("POST", "/pms/webhook/product", {**event, "data": {"sku": "MUG"}})
    assert code_of(other) == (409, "webhook.id_reused")
    strange = await shop.api.send(
        "POST", "/pms/webhook/order", {**event, "id": "evt_2", "type": "order.dreamt"}
    )
    assert (strange.status_code, strange.json()["status"]) == (202, "unknown")
