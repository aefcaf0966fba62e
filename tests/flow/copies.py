"""Clients that keep a copy of a shop, as a PMS would run them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.flow.shop import Shop
from tests.people import User
from tests.stack.addresses import Addresses
from worker.engine.clock import SystemClock
from worker.gateway.exact import decoded
from worker.gateway.pms import TABLES, Change, PmsRemote
from worker.sync.client import ClientRules, PmsClient
from worker.sync.store import SqliteStore

Rows = dict[str, Mapping[str, Any]]
"""By id."""


@asynccontextmanager
async def client_of(
    addresses: Addresses,
    shop: Shop,
    name: str,
    *,
    who: User | None = None,
    path: Path | None = None,
    rules: ClientRules | None = None,
    changed: Callable[[Sequence[Change]], None] = lambda _: None,
    through: Callable[[PmsRemote], Any] = lambda remote: remote,
) -> AsyncIterator[PmsClient]:
    """A client of `shop` as `who`, its owner if nobody else is named. `through`: what it calls through."""
    user = who or shop.tenant.owner

    async def token() -> str:
        return user.access_token

    remote = PmsRemote(
        url=addresses.api_url,
        publishable_key=addresses.publishable_key,
        token=token,
        tenant_id=str(shop.tenant.id),
        client=name,
    )
    with SqliteStore(path) as store:
        async with remote:
            yield PmsClient(through(remote), store, clock=SystemClock(), rules=rules, changed=changed)


def copy_of(client: PmsClient, entity: str = "product") -> Rows:
    return {row["id"]: row for row in client.rows(entity)}


async def server_rows(rest: httpx.AsyncClient, shop: Shop, entity: str = "product") -> Rows:
    """The living rows of an entity, read page by page."""
    found: Rows = {}
    while True:
        params = {"tenant_id": f"eq.{shop.tenant.id}", "order": "id", "limit": "1000"}
        if found:
            params["id"] = f"gt.{max(found)}"
        answer = await rest.get(f"/{TABLES[entity]}", params=params)
        assert answer.is_success, answer.text
        page = decoded(answer.content)
        if not page:
            return {key: row for key, row in found.items() if row.get("deleted_at") is None}
        found |= {row["id"]: row for row in page}
