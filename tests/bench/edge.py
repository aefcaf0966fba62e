"""The edge adapter beside PostgREST: the same row, read and written.

PostgREST is asked twice: at its own port, and through the platform's gateway, as the adapter asks it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import SecretStr
from pyreqwest.client import Client, ClientBuilder

from tests.bench.figures import Line, per_second, spread
from tests.chaos.edge_market import PRODUCTS, Market, open_markets, product_body, send
from tests.edge.redis_state import grown_up
from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.stack.platform import Platform
from worker.gateway.principals import PrincipalTokens

TIMES = 1_500
AT_ONCE = 8
FIELDS = (
    "sku", "name", "description", "status", "price", "currency", "attributes", "parent_id", "category_id",
    "publish_at", "created_at", "updated_at",
)  # fmt: skip
RATES = {"PMS_API_KEY_RATE": "1000000", "PMS_API_ADDRESS_RATE": "1000000"}
Way = Callable[[int], Awaitable[None]]
"""One request, the n-th."""


async def edge(scene: Scene) -> Line:
    """A cached and an uncached read and a signed write at one adapter, then both without the adapter;
    and inbound events, one after another."""
    adapter = scene.platform.start_functions("adapter", **RATES).url
    client = ClientBuilder().http1_only().no_proxy().timeout(timedelta(seconds=30)).build()
    async with client, scene.worker():
        [market] = await open_markets(scene, client, adapter, 1)
        ways = _Ways(client, adapter, scene.platform, market, _token(scene, market))
        await eventually(ways.hits, 30, what="the cache is in use")
        grown_up(scene.platform.addresses.redis_url)
        measured: dict[str, Way] = {
            "cached_read": ways.cached,
            "uncached_read": ways.uncached,
            "signed_write": ways.write,
            "postgrest_read": partial(ways.bare_read, ways.postgrest),
            "postgrest_write": partial(ways.bare_write, ways.postgrest),
            "gateway_read": partial(ways.bare_read, ways.gateway),
            "gateway_write": partial(ways.bare_write, ways.gateway),
        }
        await _measured(ways.cached, AT_ONCE)  # until the adapter's code is compiled as it stays
        figures = {name: await _measured(way, AT_ONCE) for name, way in measured.items()}
        figures["received_event"] = await _measured(ways.event, 1)
    return {"requests": TIMES, "at_once": AT_ONCE, **figures}


@dataclass(frozen=True)
class _Ways:
    client: Client
    adapter: str
    platform: Platform
    market: Market
    token: str

    @property
    def postgrest(self) -> str:
        """Its own port."""
        config = (self.platform.run / "postgrest.conf").read_text()
        [port] = re.findall(r"^server-port = (\d+)$", config, re.MULTILINE)
        return f"http://127.0.0.1:{port}"

    @property
    def gateway(self) -> str:
        return f"{self.platform.addresses.api_url}/rest/v1"

    @property
    def row(self) -> str:
        return self.market.products[0]

    async def hits(self) -> bool:
        return await self._read("") == "hit"

    async def cached(self, _: int) -> None:
        assert await self._read("") in ("hit", "joined", "miss")

    async def uncached(self, number: int) -> None:
        """Each time other columns of the row, which nobody asked for before."""
        source = await self._read(f"?fields={','.join(_subset(number))}")
        assert source in ("miss", "bypass"), source

    async def write(self, number: int) -> None:
        place = number % PRODUCTS
        target = f"/pms/products/{self.market.products[place]}"
        body = product_body(self.market.tenant.slug, place, number)
        answer = await send(self.client, self.adapter, self.market.caller("owner"), "PUT", target, body)
        assert answer.status == 200, answer.text

    async def event(self, number: int) -> None:
        body = {
            "id": f"evt_{number}",
            "type": "product.updated",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"id": self.row, "version": number + 1, "name": f"Lamp {number}"},
        }
        target = "/pms/webhook/product"
        answer = await send(self.client, self.adapter, self.market.caller("owner"), "POST", target, body)
        assert answer.status == 202, answer.text

    async def bare_read(self, rest: str, _: int) -> None:
        request = self.client.get(f"{rest}/products?id=eq.{self.row}&select={','.join(FIELDS)}")
        answer = await request.headers(self._headers()).build().send()
        assert answer.status == 200
        assert self.market.tenant.slug in await answer.text()

    async def bare_write(self, rest: str, number: int) -> None:
        place = number % PRODUCTS
        body = {
            "p_tenant_id": str(self.market.tenant.id),
            "p_product_id": self.market.products[place],
            "p_product": product_body(self.market.tenant.slug, place, number),
        }
        request = self.client.post(f"{rest}/rpc/replace_product").body_text(json.dumps(body))
        answer = await request.headers({**self._headers(), "Content-Type": "application/json"}).build().send()
        assert answer.status == 200, await answer.text()

    async def _read(self, query: str) -> str:
        target = f"/pms/products/{self.row}{query}"
        answer = await send(self.client, self.adapter, self.market.caller("owner"), "GET", target)
        assert answer.status == 200, answer.text
        return answer.headers["x-cache"]

    def _headers(self) -> Mapping[str, str]:
        return {"apikey": self.platform.addresses.anon_key, "Authorization": f"Bearer {self.token}"}


async def _measured(way: Way, at_once: int) -> Mapping[str, float]:
    taken: list[float] = []
    turns = itertools.chain(range(-50, 0), range(TIMES))

    async def work() -> None:
        for turn in turns:
            started = time.perf_counter()
            await way(turn + 50)
            if turn >= 0:
                taken.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return {"per_s": per_second(TIMES + 50, time.perf_counter() - started), **spread(taken)}


def _subset(number: int) -> tuple[str, ...]:
    """The n-th of the sets of columns: never empty, each but once."""
    return tuple(name for bit, name in enumerate(FIELDS) if (number + 1) >> bit & 1)


def _token(scene: Scene, market: Market) -> str:
    """For as long as a token of the adapter's own: 60 s."""
    return PrincipalTokens(SecretStr(scene.platform.addresses.signing_key)).token(
        market.caller("owner").key.id
    )
