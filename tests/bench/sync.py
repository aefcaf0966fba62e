"""From a commit to another client's copy: live, by polling alone, and after a long absence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.connections import direct, dispatch_all
from tests.bench.figures import Line, per_second, spread
from tests.eventually import eventually
from tests.flow.copies import client_of
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.writers import Writers, burst
from worker.gateway.channel import Channel, Doubt, Hear
from worker.gateway.pms import Change, PmsRemote
from worker.sync.client import PmsClient

LIVE_MS, POLLING_MS, CAUGHT_UP_S = 150.0, 2000.0, 10.0
ABSENCE = 100_000
PUSHED = 3000
SINGLE = 100


async def sync(scene: Scene) -> Line:
    """Single-row updates at 20/s and 100/s to a client that listens, at 4/s to one that cannot; 100,000
    changes for one that was away; and edits that one client pushes and another sees."""
    shop = await scene.shop(products=100, endpoints=0)
    live = await _applied(scene, shop, per_second=20, seconds=30)
    busy = await _applied(scene, shop, per_second=100, seconds=15)
    polling = await _applied(scene, shop, per_second=4, seconds=60, deaf=True)
    caught_up = await _caught_up(scene)
    pushed = await _pushed(scene)
    return {
        "commit_to_applied": {"live": live, "live_at_100_per_s": busy, "polling": polling},
        "aims": {"live_p99_ms": LIVE_MS, "polling_p99_ms": POLLING_MS, "caught_up_s": CAUGHT_UP_S},
        "met": live["p99_ms"] < LIVE_MS
        and polling["p99_ms"] < POLLING_MS
        and caught_up["seconds"] < CAUGHT_UP_S,
        "caught_up": caught_up,
        "pushed": pushed,
    }


class _Applied:
    """When each version of each product was in a copy, and what each edit made; unix seconds."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, int], float] = {}
        self.edits: dict[str, float] = {}

    def __call__(self, changes: Sequence[Change]) -> None:
        now = time.time()
        for each in changes:
            self.at.setdefault((each.entity_id, each.version), now)
            if each.command_id is not None:
                self.edits.setdefault(each.command_id, now)


def deaf_ears(remote: PmsRemote) -> PmsRemote:
    async def listen(hear: Hear) -> Channel:
        raise Doubt("there is no Realtime")

    remote.listen = listen  # type: ignore[method-assign]
    return remote


async def _applied(
    scene: Scene, shop: Shop, *, per_second: float, seconds: float, deaf: bool = False
) -> dict[str, float]:
    """`deaf`: neither client nor worker hears a bell."""
    applied, settings = _Applied(), {"WORKER_REALTIME": "off"} if deaf else {}
    writers = Writers(scene.platform.db_url, shop.products)
    async with (
        scene.worker(**settings) as worker,
        client_of(
            scene.platform.addresses,
            shop,
            "observer",
            changed=applied,
            through=deaf_ears if deaf else lambda remote: remote,
        ) as client,
        client.running(),
    ):
        await worker.until_realtime("off" if deaf else "live", 30)
        await eventually(lambda: client.complete and (deaf or client.live), 30, what="it has everything")
        await writers.write(count=round(per_second), per_second=per_second)  # connections, caches, plans
        commits = await writers.write(count=round(per_second * seconds), per_second=per_second)
        last = commits[-1]
        await eventually(lambda: (str(last.product), last.version) in applied.at, 30, what="it has the last")
    return spread(max(0.0, applied.at[str(commit.product), commit.version] - commit.at) for commit in commits)


async def _caught_up(scene: Scene) -> dict[str, float]:
    """A client on a disk, 100,000 changes behind; beside the same pages that nobody keeps."""
    shop = await scene.shop(products=1000, endpoints=0)
    with TemporaryDirectory() as folder:
        async with client_of(scene.platform.addresses, shop, "away", path=Path(folder, "copy")) as client:
            await client.sync(wait=True)
            began = client.through
            async with direct(scene.platform.admin_db_url) as connection:
                await burst(scene.platform.db_url, shop.products, rounds=ABSENCE // len(shop.products))
                await dispatch_all(connection)
            started = time.perf_counter()
            await client.sync()
            seconds = time.perf_counter() - started
            assert client.through - began == ABSENCE, f"{client.through - began} changes came"
    return {
        "changes": ABSENCE,
        "seconds": round(seconds, 2),
        "per_s": per_second(ABSENCE, seconds),
    }


async def _pushed(scene: Scene) -> dict[str, object]:
    """One client edits 300 products offline, ten times each, and then comes online beside another."""
    shop = await scene.shop(products=300, endpoints=0)
    applied = _Applied()
    addresses = scene.platform.addresses
    async with (
        scene.worker() as worker,
        client_of(addresses, shop, "editor") as editor,
        client_of(addresses, shop, "observer", changed=applied) as observer,
    ):
        await worker.until_realtime("live", 30)
        await editor.sync(wait=True)
        async with observer.running():
            await eventually(lambda: observer.complete, 30, what="it has everything")
            for n in range(PUSHED // len(shop.products)):
                for product in shop.products:
                    editor.change("product", str(product), {f"attributes.f{n}": {"set": n}})
            started = time.perf_counter()
            async with editor.running():
                await eventually(lambda: not editor.pending, 120, what="all is settled")
                settled = time.perf_counter() - started
                await eventually(lambda: len(applied.edits) >= PUSHED, 30, what="the other one has it")
                seconds = time.perf_counter() - started
                await eventually(lambda: editor.live, 30, what="it listens")
                single = [await _one_edit(editor, applied, str(each)) for each in shop.products[:SINGLE]]
    return {
        "edits": PUSHED,
        "settled_per_s": per_second(PUSHED, settled),
        "applied_elsewhere_per_s": per_second(PUSHED, seconds),
        "one_edit_to_another_client": spread(single),
    }


async def _one_edit(editor: PmsClient, applied: _Applied, product: str) -> float:
    """Seconds from the edit, through push, merge and write, to another client's copy."""
    began = time.time()
    edit = editor.change("product", product, {"name": {"set": f"Lamp {began}"}})
    await eventually(lambda: edit in applied.edits, 10, what="the other one has it", interval=0.001)
    return applied.edits[edit] - began
