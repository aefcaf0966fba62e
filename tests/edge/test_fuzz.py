"""schemathesis finds no server error and no violation of the schema, and would find one if it were there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

import httpx
import pytest

from tests.edge.conftest import Shop
from tests.edge.furnishing import furnished
from tests.edge.fuzzing import fuzz
from tests.edge.signing import PREFIX, make_key
from tests.edge.spoiling import Spoil, Spoiler
from tests.people import People
from tests.stack.addresses import Addresses

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


async def test_schemathesis_finds_nothing(shop: Shop, people: People, addresses: Addresses) -> None:
    ids = await furnished(shop)
    key = await make_key(people, shop.tenant, "manager", p_rate_per_minute=100_000)
    tally = await asyncio.to_thread(fuzz, addresses.api_url + PREFIX, key, ids, examples=8)
    assert not tally.faults, "\n\n".join(tally.faults)
    assert tally.asked > 150
    assert {200, 400} <= set(tally.statuses)


def _where(
    wrong: Callable[[httpx.Response], bool],
    *,
    status: int | None = None,
    content: bytes | str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    without: str = "",
) -> Spoil:
    """Answers that are `wrong` are told with another status, body or header; the rest as it is."""

    def spoil(true: httpx.Response) -> httpx.Response:
        if "openapi" in true.url.path or not wrong(true):
            return true
        told = {**true.headers, **headers}
        told.pop(without, "")
        return httpx.Response(
            status or true.status_code, headers=told, content=true.content if content is None else content
        )

    return spoil


def _ok(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def _refused(answer: httpx.Response) -> bool:
    return answer.status_code == 400


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (_where(_refused, status=500), "Server error"),
        (_where(_ok, status=206), "Undocumented status code"),
        (_where(_ok, headers={"content-type": "text/html"}), "Undocumented Content-Type"),
        (_where(_ok, content=json.dumps({"data": [{"sku": 7}], "next": None})), "Response violates schema"),
        (_where(_ok, content=json.dumps({"next": None})), "Response violates schema"),
        (_where(_ok, content=b'{"data": ['), "JSON deserialization error"),
        (_where(_refused, content=json.dumps({"message": "no"})), "Response violates schema"),
        (_where(_ok, headers={"ratelimit-limit": "many"}), "Response header does not conform"),
        (_where(_ok, without="x-seq"), "required headers are missing"),
    ],
    ids=[
        "crash",
        "status",
        "media type",
        "type of a field",
        "field lost",
        "cut off",
        "bare error",
        "header",
        "header lost",
    ],
)
async def test_a_planted_fault_is_seen(
    spoil: Spoil, seen: str, shop: Shop, people: People, addresses: Addresses
) -> None:
    ids = await furnished(shop)
    key = await make_key(people, shop.tenant, "manager", p_rate_per_minute=100_000)
    async with Spoiler(addresses.api_url, spoil) as spoiler:
        base_url = spoiler.url + PREFIX
        tally = await asyncio.to_thread(fuzz, base_url, key, ids, examples=8, only="GET /pms/v1/products")
    assert spoiler.spoilt
    assert any(seen in fault for fault in tally.faults), (seen, tally.faults[:3])
