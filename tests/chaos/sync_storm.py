"""Offline clients, slow transactions, killed workers, and a Realtime that goes away, loses and doubles."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.bench.connections import Connection, direct
from tests.chaos.frame_proxy import FrameProxy
from tests.chaos.report import Fact, Report
from tests.eventually import eventually
from tests.flow.copies import client_of, copy_of, server_rows
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.writers import Writers
from tests.stack.addresses import Addresses
from worker.gateway.channel import Channel, Hear
from worker.gateway.pms import Change, PmsRemote
from worker.sync.client import PmsClient

WORKERS = 2
PRODUCTS = 200
EDITORS = 3
SLOW = 4
"""Sessions whose every transaction stays open."""
ON_HAND = 1_000_000
LEASE_SECONDS = 4
PATIENCE = 1200.0
EVER = datetime(2000, 1, 1, tzinfo=UTC)
NEWER = "select id::text, version, updated_at from public.products where tenant_id = %s and updated_at > %s"
LOGGED = """
select e.entity_id::text, e.version from public.events e
where e.tenant_id = %s and e.entity in ('product', 'stock_level') and e.seq > %s
"""
TWICE = """
select count(*) from (
  select e.command_id from public.events e join public.sync_changes c on c.id::text = e.command_id
  where e.tenant_id = %s group by e.command_id having count(*) > 1
) doubled
"""
DELTAS = """
select l.id::text, l.on_hand, %s + coalesce(sum((c.edit -> 'on_hand' ->> 'delta')::integer), 0)
from public.stock_levels l
left join public.sync_changes c on c.entity_id = l.id and c.status in ('applied', 'merged')
where l.tenant_id = %s group by l.id
"""
STATUSES = "select status, count(*) from public.sync_changes where tenant_id = %s group by status"


@dataclass
class _Sight:
    """What an observer was told, and how often."""

    seen: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __call__(self, changes: Sequence[Change]) -> None:
        self.seen.update(
            (each.entity_id, each.version) for each in changes if each.entity in ("product", "stock_level")
        )


@dataclass
class _Naive:
    """A copy as it is often kept: asks for what is newer than the newest that it has."""

    versions: dict[str, int] = field(default_factory=dict)
    newest: datetime | None = None

    async def look(self, db: Connection, shop: Shop) -> None:
        rows = await (await db.execute(NEWER, (shop.tenant.id, self.newest or EVER))).fetchall()
        for key, version, at in rows:
            self.versions[key] = version
            self.newest = at if self.newest is None else max(self.newest, at)


async def sync_storm(
    scene: Scene,
    *,
    changes: int = 100_000,
    pushed: int = 20_000,
    kills: int = 50,
    drops: int = 20,
    longest: float = 60.0,
    slow: float = 30.0,
    seed: int = 1,
) -> Report:
    """100,000 changes, a fifth of them pushed by offline clients: 50 kills of workers, 20 times without
    Realtime, frames lost, doubled and reordered, and transactions that stay open for 30 s."""
    started = time.monotonic()
    chance = random.Random(seed)
    storm = _Storm(scene, chance, longest=longest, slow=slow)
    async with storm.begun() as shop:
        seconds = drops * longest / 2
        async with asyncio.TaskGroup() as group:
            raging = [
                group.create_task(storm.kill(kills, every=seconds / kills)),
                group.create_task(storm.drop(drops)),
            ]
            group.create_task(storm.write(changes - pushed, per_second=(changes - pushed) / seconds))
            group.create_task(storm.edit(pushed, per_second=pushed / seconds))
            slow_ones = [group.create_task(storm.write_slowly(n)) for n in range(SLOW)]
            looking = group.create_task(storm.look_naively())
            await asyncio.wait(raging)
            storm.over.set()
            writing = group.create_task(storm.write_on())
            await asyncio.wait(slow_ones)
            for task in (looking, writing):
                task.cancel()
        await storm.calm()
        return await storm.report(shop, started)


class _Storm:
    def __init__(self, scene: Scene, chance: random.Random, *, longest: float, slow: float) -> None:
        self._scene, self._chance, self._longest, self._slow = scene, chance, longest, slow
        self.over = asyncio.Event()
        self.naive, self.sight = _Naive(), _Sight()
        self.killed = self.dropped = self.slow_commits = self.edited = 0
        self.committed: set[tuple[str, int]] = set()
        self._began = 0

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[Shop]:
        """Workers, clients and their proxy run; everybody has everything."""
        scene, addresses = self._scene, self._scene.platform.addresses
        self._shop = shop = await scene.shop(products=PRODUCTS, endpoints=0)
        self._levels = await _stock(scene, shop)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            settings = {"WORKER_LEASE_SECONDS": str(LEASE_SECONDS)}
            self._workers = [scene.worker(**settings) for _ in range(WORKERS)]
            for worker in self._workers:
                await enter(worker)
            port = scene.platform.ports.take()
            self._proxy = await enter(FrameProxy(addresses.api_url, port=port, chance=self._chance))
            self._editors = [await self._client(stack, f"editor-{n}") for n in range(EDITORS)]
            self._observer = await self._client(stack, "observer", self.sight)
            self._db = await enter(direct(scene.platform.db_url))
            await eventually(
                lambda: all(client.complete for client in self._clients), 60, what="all is there"
            )
            self._began = self._observer.through
            await self.naive.look(self._db, shop)
            yield shop

    @property
    def _clients(self) -> list[PmsClient]:
        return [*self._editors, self._observer]

    async def _client(self, stack: AsyncExitStack, name: str, sight: _Sight | None = None) -> PmsClient:
        addresses = self._scene.platform.addresses
        client = await stack.enter_async_context(
            client_of(
                addresses,
                self._shop,
                name,
                changed=sight or (lambda _: None),
                through=lambda remote: _by_way_of(self._proxy, addresses, self._shop, remote),
            )
        )
        await stack.enter_async_context(client.running())
        return client

    # -- the weather -----------------------------------------------------------------------------------------

    async def kill(self, kills: int, *, every: float) -> None:
        for n in range(kills):
            await asyncio.sleep(every)
            worker = self._workers[n % WORKERS]
            worker.kill()
            self.killed += 1
            await worker.start()

    async def drop(self, drops: int) -> None:
        realtime = self._scene.platform.realtime
        for _ in range(drops):
            await asyncio.to_thread(realtime.kill)
            self.dropped += 1
            await asyncio.sleep(self._chance.uniform(0, self._longest))
            await asyncio.to_thread(realtime.start)
            await asyncio.sleep(self._longest / 60)

    # -- those who write -------------------------------------------------------------------------------------

    async def write(self, count: int, *, per_second: float) -> None:
        writers = Writers(self._scene.platform.db_url, self._shop.products[SLOW:])
        await writers.write(count=count, per_second=per_second)
        self.committed = {(str(it.product), it.version) for it in writers.commits}

    async def write_on(self) -> None:
        """Behind whom the last slow transactions are late: beside nobody they would be just in time."""
        writers = Writers(self._scene.platform.db_url, self._shop.products[SLOW:])
        await writers.write(count=1_000_000, per_second=5)

    async def write_slowly(self, number: int) -> None:
        """One product of its own, so that nobody else's write makes up for what is lost of it."""
        async with direct(self._scene.platform.db_url) as db:
            while not self.over.is_set():
                async with db.transaction():
                    await db.execute(
                        "update public.products set price = price + 1 where id = %s",
                        (self._shop.products[number],),
                    )
                    await asyncio.sleep(self._chance.uniform(0.5, 1) * self._slow)
                self.slow_commits += 1

    async def edit(self, count: int, *, per_second: float) -> None:
        """Each edit by one of the clients: tags, attributes, names and stock."""
        began = time.monotonic()
        for n in range(count):
            await asyncio.sleep(max(0.0, began + n / per_second - time.monotonic()))
            editor = self._editors[n % EDITORS]
            product = str(self._chance.choice(self._shop.products[SLOW:]))
            kind = n % 4
            self.edited += 1
            if kind == 0:
                by = self._chance.choice((-3, -1, 2))
                editor.change("stock_level", self._chance.choice(self._levels), {"on_hand": {"delta": by}})
            elif kind == 1:
                editor.change("product", product, {"attributes.tags": {"add": [f"t{n % 50}"]}})
            elif kind == 2:
                editor.change("product", product, {f"attributes.f{n % 5}": {"set": n}})
            else:
                editor.change("product", product, {"name": {"set": f"Lamp {n}"}})

    async def look_naively(self) -> None:
        async with direct(self._scene.platform.db_url) as db:
            while True:
                await self.naive.look(db, self._shop)
                await asyncio.sleep(0.2)

    # -- the end ---------------------------------------------------------------------------------------------

    async def calm(self) -> None:
        """Until nothing is pending, and every copy is complete."""
        await eventually(
            lambda: not any(client.pending for client in self._clients), PATIENCE, what="no edit is pending"
        )
        await self.naive.look(self._db, self._shop)
        for client in self._clients:
            await client.sync(wait=True)

    async def report(self, shop: Shop, started: float) -> Report:
        db, tenant = self._db, shop.tenant.id
        expected = await server_rows(shop.rest, shop)
        faults = [
            f"client {n} has not what the server has"
            for n, client in enumerate(self._clients)
            if copy_of(client) != expected
        ]
        logged = {
            (key, version)
            for key, version in await (await db.execute(LOGGED, (tenant, self._began))).fetchall()
        }
        lost, again = logged - self.sight.seen.keys(), self.sight.seen.total() - len(self.sight.seen)
        [(doubled,)] = await (await db.execute(TWICE, (tenant,))).fetchall()
        moved = await (await db.execute(DELTAS, (ON_HAND, tenant))).fetchall()
        faults += [f"level {key} has {there}, not {right}" for key, there, right in moved if there != right]
        statuses = dict(await (await db.execute(STATUSES, (tenant,))).fetchall())
        naive_lost = sum(self.naive.versions.get(key) != row["version"] for key, row in expected.items())
        wrong = {
            "events lost": len(lost),
            "events seen twice": again,
            "effects doubled": doubled,
            "edits rejected": statuses.get("rejected", 0),
            "edits lost": self.edited - sum(statuses.values()),
            "commits without an event": len(self.committed - logged),
        }
        for what, found in wrong.items():
            if found:
                faults.append(f"{found} {what}")
        if self._observer.snapshots > 1:
            faults.append("the observer had to begin anew")
        if not naive_lost:
            faults.append("the storm was none: the naive copy lost nothing")
        proxy = self._proxy
        facts: dict[str, Fact] = {
            "pushed": sum(statuses.values()),
            **{f"pushed_{status}": count for status, count in sorted(statuses.items())},
            "slow_transactions": self.slow_commits,
            "kills": self.killed,
            "realtime_drops": self.dropped,
            "frames_lost_doubled_reordered": f"{proxy.lost} {proxy.doubled} {proxy.reordered}",
            "naive_lost_rows": naive_lost,
        }
        judgement = Judgement(len(logged), len(logged), len(logged) - len(lost), again, 0)
        return Report("sync_storm", time.monotonic() - started, judgement, facts, faults)


def _by_way_of(proxy: FrameProxy, addresses: Addresses, shop: Shop, remote: PmsRemote) -> PmsRemote:
    async def listen(hear: Hear) -> Channel:
        token = shop.tenant.owner.access_token
        return await Channel.open(
            proxy.url, addresses.publishable_key, f"tenant:{shop.tenant.id}", hear, token=token
        )

    remote.listen = listen  # type: ignore[method-assign]
    return remote


async def _stock(scene: Scene, shop: Shop) -> list[str]:
    """Levels of ten products."""
    answer = await shop.rest.post(
        "/locations",
        json={"tenant_id": str(shop.tenant.id), "code": "MAIN", "name": "Main"},
        params={"select": "id"},
        headers={"Prefer": "return=representation"},
    )
    assert answer.is_success, answer.text
    place = answer.json()[0]["id"]
    lines = [
        {"product_id": str(product), "location_id": place, "quantity": ON_HAND}
        for product in shop.products[SLOW : SLOW + 10]
    ]
    arguments = {"p_tenant_id": str(shop.tenant.id), "p_lines": lines}
    received = await shop.rest.post("/rpc/receive_stock", json=arguments)
    assert received.is_success, received.text
    levels = await shop.rest.get("/stock_levels", params={"select": "id"})
    return [row["id"] for row in levels.json()]
