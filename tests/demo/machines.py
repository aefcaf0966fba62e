"""A cash register of Birch & Co has an API key, and signs what it asks of the edge function."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import httpx

from tests.demo.stage import DemoFailedError, Stage, expect, json_of
from worker.gateway.edge.api import EdgeApi
from worker.gateway.edge.errors import EdgeError

SCOPES: Final = ("products.read", "products.write")
CIDER: Final = {"sku": "BS-CIDER", "name": "Mulled Cider", "price": "6.40"}


class Overheard(httpx.AsyncHTTPTransport):
    """What a proxy on the way would know."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await super().handle_async_request(request)


async def use_api_key(stage: Stage) -> str:
    """Writes once for two calls; what is overheard, altered, another's or out of scope is refused."""
    wish = {"p_tenant_id": stage.birch.tenant_id, "p_name": "cash register", "p_scopes": SCOPES}
    key = json_of(await stage.birch.rest.post("/rpc/create_api_key", json=wish), "making an API key")
    base, overheard = f"{stage.platform.api_url}/functions/v1/api", Overheard()
    async with EdgeApi(base_url=base, key=key["key"], secret=key["secret"], transport=overheard) as api:
        await _write_and_read(stage, api)
        stage.say("what an eavesdropper tries")
        await _try_what_was_overheard(overheard)
        stage.say("what the key may not do")
        theirs = json_of(await stage.fjellmat.rest.get("/products?select=id&limit=1"), "a product")[0]["id"]
        await _refused("product.not_found", api.product(theirs), "another company's product")
        await _refused("access.denied", api.stock_status(), "what is not in its scopes")
        wish = {"p_tenant_id": stage.birch.tenant_id, "p_api_key_id": key["api_key_id"]}
        json_of(await stage.birch.rest.post("/rpc/revoke_api_key", json=wish), "revoking the key")
        await _refused("auth.invalid", api.products(limit=1), "a revoked key")
    stage.figures["signed_requests"] = len(overheard.requests)
    return f"{len(overheard.requests)} signed requests; replays, a changed body and a stranger's id refused"


async def _write_and_read(stage: Stage, api: EdgeApi) -> None:
    stage.say("a signed write, twice with one idempotency key")
    made = await api.create_product(CIDER, idempotency_key="cider")
    expect(await api.create_product(CIDER, idempotency_key="cider") == made, "one key made two products")
    dearer, version = {**CIDER, "price": "6.90"}, made["version"]
    await api.replace_product(made["id"], dearer, expected_version=version)
    stale = api.replace_product(made["id"], CIDER, expected_version=version)
    await _refused("version.stale", stale, "a change of what somebody else changed")
    seen = await api.product(made["id"])
    expect(seen is not None and float(seen["price"]) == 6.90, f"a read after the write says {seen}")


async def _try_what_was_overheard(overheard: Overheard) -> None:
    """As it was, and with another price."""
    write = next(request for request in overheard.requests if request.method == "POST")
    altered = write.content.replace(b"6.40", b"0.40")
    expect(altered != write.content, "the price is not where the demo looks for it")
    for body, code in ((write.content, "auth.replayed"), (altered, "auth.invalid")):
        headers = {name: value for name, value in write.headers.items() if name.startswith("x-")}
        headers["content-type"] = write.headers["content-type"]
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.post(write.url, content=body, headers=headers)
        problem: dict[str, Any] = json_of(answer, "a request that was overheard", status=401)
        expect(problem["code"] == code, f"a request that was overheard: {problem}")


async def _refused(code: str, call: Awaitable[object], what: str) -> None:
    try:
        await call
    except EdgeError as error:
        expect(error.code == code, f"{what} was refused as {error}")
    else:
        raise DemoFailedError(f"{what} was not refused")
