"""A till and a phone of Birch & Co edit while nobody hears them, and come back at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from structlog.testing import capture_logs

from tests.demo.stage import Company, Stage, expect, json_of
from tests.eventually import eventually
from worker.engine.clock import SystemClock
from worker.gateway.exact import decoded
from worker.gateway.pms import PmsRemote
from worker.sync.client import PmsClient
from worker.sync.store import SqliteStore

SALES: Final = {"till": 2, "phone": 3}
PRICES: Final = {"till": "4.75", "phone": "4.95"}


async def edit_offline(stage: Stage) -> str:
    """What excludes nothing merges, sales add up, and two prices wait for a person."""
    birch = stage.birch
    # what the clients log is no part of the picture
    with capture_logs():
        async with _client(stage, "till") as till, _client(stage, "phone") as phone:
            return await _edit(stage, birch, {"till": till, "phone": phone})


async def _edit(stage: Stage, birch: Company, clients: dict[str, PmsClient]) -> str:
    till, phone = clients.values()
    await asyncio.gather(till.sync(wait=True), phone.sync(wait=True))
    bun = next(row for row in till.rows("product") if row["name"] == "Cardamom Bun")
    level = next(row for row in till.rows("stock_level") if row["product_id"] == bun["id"])
    edits = {name: _sell(name, client, bun["id"], level["id"]) for name, client in clients.items()}
    stage.say(f"{till.pending + phone.pending} edits offline, shown at once")
    async with till.running(), phone.running():
        await eventually(lambda: not till.pending and not phone.pending, 30, what="all is merged")
        ended = [clients[name].edit(each) for name, each in edits.items()]
        statuses = sorted(edit.status for edit in ended if edit is not None)
        expect(statuses == ["applied", "conflict"], f"the two prices ended as {statuses}")
        await _decide(birch)
        sold = level["on_hand"] - sum(SALES.values())
        await eventually(lambda: _on_hand(till, level["id"]) == sold, 20, what="both sales are counted")
    await asyncio.gather(till.sync(wait=True), phone.sync(wait=True))
    await _compare(birch, clients)
    shown = till.row("product", bun["id"]) or {}
    expect(set(shown["attributes"]["tags"]) == set(SALES), f"tags were lost: {shown}")
    count = stage.figures["offline_edits"] = 3 * len(clients)
    return f"2 clients, {count} edits: tags and sales add up, a price was decided; both copies equal"


def _sell(name: str, client: PmsClient, product: str, level: str) -> str:
    """The edit of the price."""
    client.change("product", product, {"attributes.tags": {"add": [name]}})
    client.change("stock_level", level, {"on_hand": {"delta": -SALES[name]}})
    edit = client.change("product", product, {"price": {"set": decoded(PRICES[name].encode())}})
    row = client.row("product", product) or {}
    expect(name in row["attributes"]["tags"], f"the {name} does not show its own edit: {row}")
    return edit


def _on_hand(client: PmsClient, level: str) -> Any:
    return (client.row("stock_level", level) or {})["on_hand"]


async def _decide(company: Company) -> None:
    """The owner takes the price that came second."""
    waiting = {"winner": "is.null", "select": "id,field"}
    [conflict] = json_of(await company.rest.get("/sync_conflicts", params=waiting), "reading conflicts")
    expect(conflict["field"] == "price", f"something else waits: {conflict}")
    choice = {"p_tenant_id": company.tenant_id, "p_conflict_id": conflict["id"], "p_choice": "theirs"}
    json_of(await company.rest.post("/rpc/resolve_conflict", json=choice), "deciding a conflict")


async def _compare(company: Company, clients: dict[str, PmsClient]) -> None:
    answer = await company.rest.get("/products?deleted_at=is.null&limit=1000")
    json_of(answer, "reading products")
    rows = {row["id"]: row for row in decoded(answer.content)}
    for name, client in clients.items():
        copy = {row["id"]: row for row in client.rows("product")}
        expect(copy == rows, f"the {name}'s copy is not what the server has")


@asynccontextmanager
async def _client(stage: Stage, name: str) -> AsyncIterator[PmsClient]:
    addresses, company = stage.platform.addresses, stage.birch
    bearer = company.rest.headers["Authorization"].removeprefix("Bearer ")

    async def token() -> str:
        return bearer

    remote = PmsRemote(
        url=addresses.api_url,
        publishable_key=addresses.publishable_key,
        token=token,
        tenant_id=company.tenant_id,
        client=name,
    )
    with SqliteStore(stage.scratch / f"{name}.sqlite") as store:
        async with remote:
            yield PmsClient(remote, store, clock=SystemClock())
