"""Two clients in supabase-js and one in Python edit one catalogue at the same time, and end equal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import eventually
from tests.flow.copies import client_of, copy_of, server_rows
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.worker_process import WorkerProcess
from tests.stack.scripts import deno_environment, script_command
from worker.gateway.exact import decoded
from worker.sync.client import PmsClient

pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")
SCRIPT = Path(__file__).with_name("copy.ts")
EDITS = 60


async def start(scene: Scene, shop: Shop, name: str) -> asyncio.subprocess.Process:
    addresses = scene.platform.addresses
    arguments = [
        addresses.api_url,
        addresses.publishable_key,
        shop.tenant.owner.access_token,
        str(shop.tenant.id),
        name,
        ",".join(map(str, shop.products)),
    ]
    return await asyncio.create_subprocess_exec(
        *script_command(SCRIPT, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=deno_environment(),
        limit=1 << 20,
    )


async def line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return decoded(await process.stdout.readline())


async def edit(client: PmsClient, shop: Shop) -> None:
    for n in range(EDITS):
        product = str(shop.products[n % len(shop.products)])
        changes: dict[str, Any] = {
            "name": {"set": f"py {n}"},
            "attributes.py": {"set": n},
            "attributes.tags": {"add": [f"py-{n}"]},
        }
        client.change("product", product, changes)
        await asyncio.sleep(0.02)


async def test_clients_in_two_languages_edit_one_catalogue_and_end_equal(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=4, endpoints=0)
    others = [await start(scene, shop, name) for name in ("ann", "bob")]
    try:
        async with client_of(scene.platform.addresses, shop, "cyd") as client, client.running():
            await eventually(lambda: client.complete, 20, what="it has everything")
            await edit(client, shop)
            verdicts = [await line(other) for other in others]
            await eventually(lambda: not client.pending, 30, what="all is settled")
            await client.sync(wait=True)
            copies = [copy_of(client), await server_rows(shop.rest, shop)]
            for other in others:
                assert other.stdin is not None
                other.stdin.write(f"{client.through}\n".encode())
                await other.stdin.drain()
                copies.append({row["id"]: row for row in (await line(other))["rows"]})
    finally:
        for other in others:
            if other.returncode is None:
                other.kill()
            await other.wait()
    first, *rest = copies
    for copy in rest:
        assert copy == first
    assert all({"applied", "merged"} >= set(told["statuses"]) for told in verdicts), "as Realtime showed it"
    tags = {tag for row in first.values() for tag in row["attributes"]["tags"]}
    expected = {f"py-{n}" for n in range(EDITS)}
    expected |= {f"{name}-{n}" for name in ("ann", "bob") for n in range(1, 40, 2)}
    assert tags == expected, "no edit that conflicts with nothing is lost"
