"""`PmsClient` against the whole: PostgREST, Realtime and a worker."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.eventually import eventually
from tests.flow.copies import client_of, copy_of, server_rows
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.worker_process import WorkerProcess
from worker.gateway.exact import encoded
from worker.gateway.pms import Differences, MustSnapshot, Page, PmsRemote, StoredRow
from worker.sync.client import ClientRules, PmsClient

pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")


async def settled(client: PmsClient, edit_id: str) -> str:
    async def known() -> bool:
        await client.sync()
        edit = client.edit(edit_id)
        return edit is not None and edit.status != "pending"

    await eventually(known, 20, what="the edit is settled")
    edit = client.edit(edit_id)
    assert edit is not None
    return edit.status


async def same(client: PmsClient, shop: Shop) -> bool:
    return copy_of(client) == await server_rows(shop.rest, shop)


async def test_what_is_edited_offline_is_shown_at_once_and_pushed_later(
    scene: Scene, worker: WorkerProcess, tmp_path: Path
) -> None:
    shop = await scene.shop(products=3, endpoints=0)
    product = str(shop.products[0])
    path = tmp_path / "till.sqlite"
    async with client_of(scene.platform.addresses, shop, "till", path=path) as till:
        await till.sync(wait=True)
        assert await same(till, shop)
        till.change("product", product, {"name": {"set": "Boot"}, "price": {"set": Decimal("19.99")}})
        edit = till.change("product", product, {"attributes.tags": {"add": ["new"]}})
        made = till.create("product", {"sku": "NEW-1", "name": "Hat", "attributes.color": "red"})
        shown = till.row("product", product)
        assert shown is not None
        assert (shown["name"], shown["price"], shown["attributes"]) == (
            "Boot",
            Decimal("19.99"),
            {"tags": ["new"]},
        )
        assert copy_of(till)[made]["attributes"] == {"color": "red"}
        assert till.pending == 3
    # another day, another process: the queue is still there
    async with client_of(scene.platform.addresses, shop, "till", path=path) as till:
        assert till.pending == 3
        assert (till.row("product", product) or {})["name"] == "Boot"
        assert await settled(till, edit) == "applied"
        await till.sync(wait=True)
        assert till.pending == 0
        assert await same(till, shop)
        assert copy_of(till)[made]["name"] == "Hat"
        assert till.snapshots == 0, "it went on where it was"


async def test_two_clients_edit_one_product_and_see_each_other_live(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=2, endpoints=0)
    product = str(shop.products[0])
    addresses = scene.platform.addresses
    async with client_of(addresses, shop, "till") as till, client_of(addresses, shop, "phone") as phone:
        async with till.running(), phone.running():
            await eventually(lambda: till.complete and phone.complete, 20, what="both have everything")
            till.change("product", product, {"name": {"set": "Boot"}, "price": {"set": 12}})
            edit = phone.change("product", product, {"description": {"set": "Warm"}, "price": {"set": 13}})
            await eventually(lambda: not till.pending and not phone.pending, 20, what="all is settled")
            await eventually(lambda: (phone.row("product", product) or {})["name"] == "Boot", 20)
            told = phone.edit(edit)
            assert told is not None
            settled_as = {told.status, (till.edit(edit) or told).status}
            assert settled_as <= {"conflict", "applied"}
            await eventually(lambda: copy_of(till) == copy_of(phone), 20, what="both are equal")
        assert await same(till, shop)


async def test_a_deletion_for_good_and_a_row_of_another_role(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=3, endpoints=0)
    gone = shop.products[1]
    async with client_of(scene.platform.addresses, shop, "till") as till:
        await till.sync(wait=True)
        async with await psycopg.AsyncConnection.connect(scene.platform.db_url, autocommit=True) as db:
            await db.execute("delete from public.products where id = %s", (gone,))
        await till.sync(wait=True)
        assert str(gone) not in copy_of(till)
        assert await same(till, shop)
        with pytest.raises(KeyError):
            till.change("product", str(gone), {"name": {"set": "x"}})
        with pytest.raises(ValueError, match="name: one of set"):
            till.change("product", str(shop.products[0]), {"name": "x"})
        assert till.pending == 0


async def test_one_edit_that_is_refused_does_not_hold_up_the_others(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=2, endpoints=0)
    one, other = map(str, shop.products)
    async with client_of(scene.platform.addresses, shop, "till") as till:
        await till.sync(wait=True)
        fine = [till.change("product", one, {f"attributes.f{n}": {"set": n}}) for n in range(5)]
        deep: Any = 1
        for _ in range(60):
            deep = [deep]
        deeply = till.change("product", other, {"attributes.deep": {"set": deep}})
        long = till.change("product", other, {"attributes.long": {"set": 10**60}})
        missing = till.change("product", other, {"tenant_id": {"set": "x"}})
        last = till.change("product", other, {"name": {"set": "Boot"}})
        assert [await settled(till, each) for each in (*fine, last)] == ["applied"] * 6
        bad = (deeply, long, missing)
        assert [await settled(till, each) for each in bad] == ["rejected"] * 3
        errors = [edit.error for each in bad if (edit := till.edit(each)) is not None]
        assert [error and error["code"] for error in errors] == [
            "json.too_deep",
            "json.number_too_long",
            "sync.field_unknown",
        ]
        await till.sync(wait=True)
        assert await same(till, shop)


async def test_a_wrong_copy_is_found_by_checksums_and_mended(scene: Scene, worker: WorkerProcess) -> None:
    """As after a disk that lied: rows that are missing, too old, or of nobody."""
    shop = await scene.shop(products=700, endpoints=0)
    calls: list[int] = []

    def counting(remote: PmsRemote) -> PmsRemote:
        original = remote.report

        async def report(entity: str, ranges: Sequence[Mapping[str, Any]]) -> Differences:
            calls.append(len(ranges))
            return await original(entity, ranges)

        remote.report = report  # type: ignore[method-assign]
        return remote

    async with client_of(scene.platform.addresses, shop, "till", through=counting) as till:
        await till.sync(wait=True)
        assert await till.reconcile("product") == 0
        assert await till.reconcile("stock_level") == 0
        assert calls == [1, 1], "what is right is said in one call"
        keys = sorted(map(str, shop.products))
        stranger = str(uuid.UUID(int=uuid.UUID(keys[300]).int + 1))
        store = till._store
        store.take_rows("product", [StoredRow(stranger, 1, b'{"id":"","version":1}')], keys[10:12])
        old = dict(store.row("product", keys[400]) or {})
        store.take_rows("product", [StoredRow(keys[400], 9, encoded({**old, "name": "?", "version": 9}))])
        assert not await same(till, shop)
        calls.clear()
        assert await till.reconcile("product") == 4
        assert await same(till, shop)
        assert 1 < len(calls) <= 5
        assert await till.reconcile("product") == 0


async def test_who_gains_a_right_gets_what_was_written_before_and_who_loses_one_keeps_nothing(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=3, endpoints=0)
    person = await scene.people.make_user()
    rest = shop.rest
    grant = {"tenant_id": str(shop.tenant.id), "principal_id": str(person.id), "role": "viewer"}

    async def become(role: str) -> None:
        async with await psycopg.AsyncConnection.connect(scene.platform.db_url, autocommit=True) as db:
            await db.execute(
                "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, %s)"
                " on conflict (tenant_id, principal_id) do update set role = excluded.role",
                (grant["tenant_id"], grant["principal_id"], role),
            )

    async with await psycopg.AsyncConnection.connect(scene.platform.db_url, autocommit=True) as db:
        # a role that sees the tenant, and of its rows the stock alone
        await db.execute(
            "delete from private.role_permissions where role = 'viewer' and permission = 'products.read'"
        )
        try:
            await become("viewer")
            async with client_of(scene.platform.addresses, shop, "phone", who=person) as phone:
                await phone.sync(wait=True)
                assert copy_of(phone) == {}
                await become("clerk")
                await phone.sync(wait=True)
                assert copy_of(phone) == await server_rows(rest, shop)
                await become("viewer")
                await phone.sync(wait=True)
                assert copy_of(phone) == {}
                assert phone.snapshots == 3
        finally:
            await db.execute(
                "insert into private.role_permissions (role, permission) values ('viewer', 'products.read')"
            )


# -- holes ---------------------------------------------------------------------------------------------------


def losing_pages(remote: PmsRemote) -> PmsRemote:
    original, count = remote.pull, iter(range(1_000_000))

    async def pull(cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        answer = await original(cursor, limit=limit, wait=wait)
        if isinstance(answer, Page) and answer.changes and next(count) % 2 == 0:
            return await original(answer.cursor.text, limit=limit, wait=wait)
        return answer

    remote.pull = pull  # type: ignore[method-assign]
    return remote


async def test_a_page_that_does_not_follow_is_not_taken(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=3, endpoints=0)
    rules = ClientRules(page=2)
    async with client_of(scene.platform.addresses, shop, "till", rules=rules, through=losing_pages) as till:
        async with till.running():
            await eventually(lambda: till.complete, 20, what="it has everything")
            for n in range(4):
                for product in shop.products:
                    await shop.update_product(product, name=f"Boot {n}")
            await eventually(lambda: same(till, shop), 20, what="what was lost was asked for again")
        assert till.snapshots == 1
