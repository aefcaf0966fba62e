"""Every example of the OpenAPI document is executed: it asks what it says, and is answered as it says.

Ids, moments and numbers that the database gives are what they are: they are compared by their form alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import pytest

from tests.edge.conftest import Shop
from tests.stack.paths import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)")
GIVEN = {"milliseconds", "id", "level_version"}
"""Numbers that the machine and the database give."""


def formed(value: Any, name: str = "", within: Collection[str] = ()) -> Any:
    match value:
        case dict():
            return {key: formed(each, key, value.keys()) for key, each in value.items()}
        case list():
            return [formed(each) for each in value]
        case str():
            text = MOMENT.sub("<moment>", UUID.sub("<id>", value))
            return "<number>" if name == "number" and re.fullmatch(r"[A-Z]*-?\d+", value) else text
        case int() if name in GIVEN or (name == "version" and "product_id" in within):
            return "<number>"
    return value


async def example_world(shop: Shop) -> dict[str, str]:
    """The small world of functions/api/schemas/examples.ts; the ids there by the ids here."""
    body = {
        "sku": "MUG-BLUE",
        "name": "Blue mug",
        "description": "Holds 0.3 l.",
        "price": 19.9,
        "currency": "USD",
        "attributes": {"color": "blue"},
    }
    product = (await shop.api.send("POST", "/pms/v1/products", body)).json()["id"]
    return {
        "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e": product,
        "8a1d2c3b-4e5f-4a6b-8c7d-9e0f1a2b3c4d": shop.location,
    }


async def stocked(shop: Shop, ids: dict[str, str]) -> None:
    """12 pieces received, of which an order holds 2; reordered at 5."""
    product = next(iter(ids.values()))
    tenant = {"p_tenant_id": str(shop.tenant.id)}
    line = {"product_id": product, "location_id": shop.location, "quantity": 12}
    received = {**tenant, "p_lines": [line], "p_reason": "first delivery"}
    (await shop.owner.post("/rpc/receive_stock", json=received)).raise_for_status()


async def ordered(shop: Shop, ids: dict[str, str]) -> None:
    product = next(iter(ids.values()))
    target = f"/pms/v1/products/{product}"
    assert (await shop.api.send("POST", f"{target}/publish")).status_code == 200
    lines = [{"product_id": product, "quantity": 2}]
    placing = {"p_tenant_id": str(shop.tenant.id), "p_lines": lines, "p_customer": {"name": "Ann"}}
    placed = await shop.owner.post("/rpc/place_order", json=placing)
    assert placed.is_success, placed.text
    ids["c0ffee00-1234-4abc-8def-0123456789ab"] = placed.json()["id"]
    ids["A-000001"] = placed.json()["number"]
    line = {"product_id": product, "location_id": shop.location}
    level = f"/stock_levels?product_id=eq.{product}&location_id=eq.{line['location_id']}"
    (await shop.owner.patch(level, json={"reorder_point": 5})).raise_for_status()


WITH_ORDER = {"stockStatus", "adjustStock", "getOrder", "receiveOrderEvent"}
WITH_STOCK = {*WITH_ORDER, "stockHistory", "receiveInventoryEvent"}


def example_of(parameter: dict[str, Any]) -> Any:
    return parameter.get("example", parameter["schema"].get("example"))


def request_of(name: str) -> tuple[str, str, Any]:
    """Method, target, body; of the query's examples those that belong to the operation."""
    method, path, operation = OPERATIONS[name]
    shown = {each["name"]: each for each in operation.get("parameters", []) if example_of(each) is not None}
    for parameter in list(shown.values()):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", str(example_of(parameter)))
    general = {"created_since", "updated_since", "since", "until", "location", "fields"}
    query = {
        each: example_of(parameter)
        for each, parameter in shown.items()
        if parameter["in"] == "query" and each not in general
    }
    asked = "&".join(f"{each}={value}" for each, value in query.items())
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return method, f"{path}?{asked}" if asked else path, content.get("example")


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_does_what_its_example_says(shop: Shop, name: str) -> None:
    ids = await example_world(shop)
    if name in WITH_STOCK:
        await stocked(shop, ids)
    if name in WITH_ORDER:
        await ordered(shop, ids)
    method, target, body = request_of(name)
    text = json.dumps(body)
    for there, here in ids.items():
        target, text = target.replace(there, here), text.replace(there, here)
    answer = await shop.api.send(method, target, json.loads(text))
    promised = {
        int(status): told for status, told in OPERATIONS[name][2]["responses"].items() if status[0] == "2"
    }
    assert answer.status_code in promised, answer.text
    told = promised[answer.status_code]
    content = told.get("content", {}).get("application/json", {})
    for each, header in told["headers"].items():
        if header["required"] or each in answer.headers:
            assert re.search(header["schema"].get("pattern", ""), answer.headers[each]), each
    if "example" in content:
        assert formed(answer.json()) == formed(content["example"])
    else:
        assert answer.content == b""


@pytest.mark.parametrize("name", OPERATIONS)
async def test_each_example_of_a_parameter_is_taken(shop: Shop, name: str) -> None:
    """Alone, so that none hides behind another."""
    method, path, operation = OPERATIONS[name]
    if method != "GET":
        return
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query" and (value := example_of(parameter)) is not None:
            target = re.sub(r"\{\w+\}", "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e", path)
            answer = await shop.api.get(f"{target}?{parameter['name']}={value}")
            assert answer.status_code in (200, 404), answer.text
