"""Pushing changes: what is accepted, what is once, who may, and what waits for the worker."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, open_transaction, rows, rpc, value
from tests.sql.company import Company, add_member, add_product, found_company
from tests.sql.syncing import attempt, change, pending, push


async def test_a_push_is_accepted_at_once_and_waits_for_the_worker(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    first, second = (change(product, {"name": {"set": name}}) for name in ("Boot", "Boots"))
    assert await push(db, company, first, second) == [
        {"id": first["id"], "status": "pending"},
        {"id": second["id"], "status": "pending"},
    ]
    [found] = await pending(db, company)
    assert (found["id"], found["principal_id"]) == (first["id"], str(company.owner)), (
        "one at a time, in order"
    )
    assert await attempt(db)


async def test_the_same_push_again_is_once(db: Connection, company: Company) -> None:
    it = change(await add_product(db, company), {"name": {"set": "Boot"}})
    await push(db, company, it)
    await push(db, company, it, {**it, "entity_id": it["entity_id"].upper()})
    assert await value(db, "select count(*) from public.sync_changes") == 1


@pytest.mark.parametrize("other", ["edit", "stamp", "client", "principal"])
async def test_an_id_is_one_change_s_for_ever(db: Connection, company: Company, other: str) -> None:
    it = change(await add_product(db, company), {"name": {"set": "Boot"}})
    await push(db, company, it)
    who = await add_member(db, company, "manager") if other == "principal" else company.owner
    changed: dict[str, Any] = {"edit": {"name": {"set": "Bag"}}, "stamp": "1764201600123-0001-till"}
    again = it | ({other: changed[other]} if other in changed else {})
    with pytest.raises(psycopg.Error, match=r"sync\.change_id_reused"):
        await push(db, company, again, who=who, client="phone" if other == "client" else "till")
    assert await value(db, "select edit #>> '{name,set}' from public.sync_changes") == "Boot"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"id": "7"}, "id must be a UUID"),
        ({"entity": "tenant"}, "entity must be"),
        ({"operation": "upsert"}, "operation must be"),
        ({"base_version": 0}, "base_version must be"),
        ({"base_version": "1; drop"}, "base_version must be"),
        ({"stamp": "yesterday"}, "stamp must read"),
        ({"edit": {}}, "a deletion has no edit"),
        ({"edit": {"name": "Boot"}}, "edit must be"),
        ({"edit": {"name": {"set": 1, "delta": 2}}}, "edit must be"),
        ({"edit": {"on_hand": {"delta": 1.5}}}, "edit must be"),
        ({"edit": {"on_hand": {"delta": "1"}}}, "edit must be"),
        ({"edit": {"tags": {"add": "x"}}}, "edit must be"),
        ({"edit": {"tags": {"add": [1]}}}, "edit must be"),
        ({"edit": {"attributes.x": {"set": json.loads("[" * 40 + "]" * 40)}}}, "edit must be"),
        ({"edit": {"Name; --": {"set": 1}}}, "edit must be"),
        ({"edit": {f"f{'x' * n}": {"set": 1} for n in range(201)}}, "edit must be"),
        ({"operation": "insert"}, "what is new has no base_version"),
        ({"entity": "stock_level", "operation": "delete", "edit": {}}, "can only be updated"),
    ],
)
async def test_what_is_no_change_is_refused_by_its_number(
    db: Connection, company: Company, broken: dict[str, Any], why: str
) -> None:
    good = change(await add_product(db, company), {"name": {"set": "Boot"}})
    with pytest.raises(psycopg.Error, match=r"sync\.change_invalid") as refused:
        await push(db, company, good, good | {"id": str(uuid.uuid4())} | broken)
    assert why in str(refused.value.diag.message_detail)
    assert str(refused.value.diag.message_detail).startswith("Change 2: ")
    assert await value(db, "select count(*) from public.sync_changes") == 0, "all or nothing"


async def test_a_push_has_bounds(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    many = [change(product, {"name": {"set": str(n)}}) for n in range(1000)]
    assert len(await push(db, company, *many)) == 1000
    with pytest.raises(psycopg.Error, match=r"sync\.changes_invalid"):
        await push(db, company, *many, change(product, {"name": {"set": "x"}}))
    with pytest.raises(psycopg.Error, match=r"sync\.client_invalid"):
        await push(db, company, many[0], client="a b")
    with pytest.raises(psycopg.Error, match=r"sync\.change_invalid"):
        await push(db, company, change(product, {"description": {"set": "x" * 200_000}}))


async def test_plain_inserts_are_pushes_of_one_s_own(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    clerk, viewer = await add_member(db, company, "clerk"), await add_member(db, company, "viewer")
    insert = """
        insert into public.sync_changes
          (id, tenant_id, client, entity, entity_id, operation, base_version, edit, stamp)
        values (gen_random_uuid(), %s, 'till', 'product', %s, 'update', 1, '{"name": {"set": "Boot"}}',
          '1764201600123-0000-till')
    """
    async with acting_as(db, clerk):
        await db.execute(insert, (company.tenant_id, product))
        assert await column(db, "select principal_id from public.sync_changes") == [clerk]
    for who in (viewer, (await found_company(db, "other")).owner):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, who):
                await db.execute(insert, (company.tenant_id, product))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, clerk):
            await db.execute("update public.sync_changes set status = 'applied', settled_at = now()")


async def test_people_see_their_own_changes_and_managers_all(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    clerk, other = await add_member(db, company, "clerk"), await add_member(db, company, "clerk")
    await push(db, company, change(product, {"name": {"set": "Boot"}}), who=clerk)
    for who, seen in ((clerk, 1), (other, 0), (company.owner, 1)):
        async with acting_as(db, who):
            assert await value(db, "select count(*) from public.sync_changes") == seen


async def test_one_job_stands_for_all_that_is_pushed_until_it_is_claimed(
    db: Connection, company: Company
) -> None:
    product = await add_product(db, company)
    jobs = "select serial_key from queue.jobs where kind = 'sync.work'"
    for n in range(3):
        await push(db, company, change(product, {"name": {"set": str(n)}}))
    assert len(await rows(db, jobs)) == 1
    await attempt(db)
    await push(db, company, change(product, {"name": {"set": "x"}}))
    assert len(await rows(db, jobs)) == 2, "one is running and may have looked already"


async def test_a_push_needs_somebody_whose_permissions_decide(db: Connection, company: Company) -> None:
    it = change(await add_product(db, company), {"name": {"set": "Boot"}})
    viewer = await add_member(db, company, "viewer")
    with pytest.raises(psycopg.Error, match=r"access\.denied"):
        await push(db, company, it, who=viewer)
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await push(db, company, it, who=(await found_company(db, "other")).owner)


async def test_what_is_pushed_while_the_job_is_claimed_is_worked_off_too(
    db: Connection, other: Connection, company: Company
) -> None:
    """A job that waits stands for it, so nobody may claim that before the push is committed."""
    product = await add_product(db, company)
    await push(db, company, change(product, {"name": {"set": "Boot"}}))
    claim: dict[str, Any] = {"p_worker": "w", "p_kinds": ["sync.work"], "p_limit": 1}
    async with open_transaction(other):
        late = change(product, {"name": {"set": "Bag"}})
        insert = "select private.push_changes(%s, 'phone', %s)"
        claims = json.dumps({"role": "authenticated", "sub": str(company.owner)})
        await other.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        await other.execute(insert, (company.tenant_id, json.dumps([late])))
        assert (await rpc(db, "claim_jobs", **claim))["jobs"] == []
        await other.commit()
    [job] = (await rpc(db, "claim_jobs", **claim))["jobs"]
    await rpc(db, "settle_jobs", p_results=[{"attempt_id": job["attempt_id"], "outcome": "done"}])
    assert len(await rows(db, "select from public.sync_changes where status = 'pending'")) == 2
    await push(db, company, late, client="phone")
    assert await rows(db, "select from queue.jobs where kind = 'sync.work'"), (
        "a push again wakes the worker again"
    )
