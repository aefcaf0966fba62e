"""The life of an API key: new secrets, its end by time, by hand and with its tenant; everything at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from typing import LiteralString

import pytest
from psycopg import errors

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, add_product
from tests.sql.keys import act, add_key, good_secrets, manage, now, permissions, refused, sees

SECRETS: LiteralString = "select private.read_secret(secret_id) from private.api_key_secrets"
KEPT: LiteralString = "select count(*) from private.secrets"


async def test_a_key_that_expires_loses_everything_at_once_and_can_be_prolonged(
    db: Connection, company: Company
) -> None:
    await add_product(db, company)
    await stop_clock(db)
    until = await now(db) + dt.timedelta(hours=1)
    key = await add_key(db, company, p_expires_at=until)
    await move_clock(db, dt.timedelta(minutes=59))
    assert await sees(db, key) == 1
    await move_clock(db, dt.timedelta(minutes=1))
    assert (await sees(db, key), await permissions(db, key)) == (0, None)
    async with acting_as(db, key.id):
        assert await value(db, "select count(*) from public.api_keys") == 0
    with refused("tenant.not_found"):
        await act(db, Company(company.tenant_id, key.id), "pull_changes")
    assert await rpc(db, "read_api_key", p_api_key_id=key.id) is None
    changes = {"expires_at": (until + dt.timedelta(days=1)).isoformat()}
    renamed = await manage(db, company, "change_api_key", key, p_changes={"name": "Old"})
    assert renamed["name"] == "Old", "its end need not lie ahead to give it a name"
    await manage(db, company, "change_api_key", key, p_changes=changes)
    assert await sees(db, key) == 1


async def test_a_new_secret_overlaps_with_those_before_it(db: Connection, company: Company) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    second = await manage(db, company, "rotate_api_key", key, p_overlap="2 hours")
    assert await good_secrets(db, key) == [second["secret"], key.secret]
    assert second["old_secret_expires_at"] is not None
    third = await manage(db, company, "rotate_api_key", key, p_overlap="1 hour")
    assert await good_secrets(db, key) == [third["secret"], second["secret"], key.secret]
    assert third["old_secret_expires_at"] == second["old_secret_expires_at"], "when the last of them ends"
    await move_clock(db, dt.timedelta(hours=1))
    assert await good_secrets(db, key) == [third["secret"], key.secret]
    await move_clock(db, dt.timedelta(hours=1))
    assert await good_secrets(db, key) == [third["secret"]]
    last = await manage(db, company, "rotate_api_key", key, p_overlap="0")
    assert last["old_secret_expires_at"] is None
    assert await good_secrets(db, key) == [last["secret"]]
    for overlap in ("-1 second", "31 days", None, "soon"):
        with refused("api_key.overlap_invalid"):
            await manage(db, company, "rotate_api_key", key, p_overlap=overlap)


async def test_a_key_is_named_by_its_id_or_as_in_its_header(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    changed = await act(
        db, company, "change_api_key", p_api_key_id=key.answer["key"], p_changes={"name": "Till 2"}
    )
    assert (changed["api_key_id"], changed["name"]) == (str(key.id), "Till 2")
    for odd in (key.answer["key"][:-1], "till", key.secret):
        with refused("api_key.not_found") as told:
            await act(db, company, "revoke_api_key", p_api_key_id=odd)
        assert told.value.diag.message_hint == "It is a UUID (api_key_id), or key_ and 32 hex digits."
    await act(db, company, "rotate_api_key", p_api_key_id=key.answer["key"])
    assert (await act(db, company, "revoke_api_key", p_api_key_id=key.answer["key"]))["status"] == "revoked"


@pytest.mark.parametrize("in_use", ["first", "second"])
async def test_no_rotation_ends_a_secret_before_its_time(
    db: Connection, company: Company, in_use: str
) -> None:
    """Answers get lost, so which of the secrets signs is not known: dropping any may lock everybody out."""
    await stop_clock(db)
    key = await add_key(db, company)
    second = await manage(db, company, "rotate_api_key", key)
    await manage(db, company, "rotate_api_key", key)  # works, though its answer got lost
    signs = {"first": key.secret, "second": second["secret"]}[in_use]
    before = await good_secrets(db, key)
    for overlap in ("24 hours", "1 second", "30 days"):
        with pytest.raises(errors.Error, match=r"^api_key\.rotating\n") as refusal:
            await manage(db, company, "rotate_api_key", key, p_overlap=overlap)
        assert refusal.value.sqlstate == "PT409"
        assert "p_overlap = 0" in (refusal.value.diag.message_hint or "")
    assert signs in before
    assert await good_secrets(db, key) == before, "a refusal changes none"

    told = re.search(r"from (\S+) on", refusal.value.diag.message_detail or "")
    assert told is not None
    possible_at = dt.datetime.fromisoformat(told[1])
    await move_clock(db, possible_at - await now(db) - dt.timedelta(seconds=2))
    assert await good_secrets(db, key) == before, "to the second"
    with refused("api_key.rotating"):
        await manage(db, company, "rotate_api_key", key)
    await move_clock(db, dt.timedelta(seconds=2))
    newest = await manage(db, company, "rotate_api_key", key)
    assert (await good_secrets(db, key))[0] == newest["secret"]


async def test_what_is_lost_for_good_can_be_replaced_at_once(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    for _ in range(2):
        await manage(db, company, "rotate_api_key", key)
    newest = await manage(db, company, "rotate_api_key", key, p_overlap="0")
    assert await good_secrets(db, key) == [newest["secret"]]


async def test_revoking_ends_every_right_at_once_and_drops_the_secrets(
    db: Connection, company: Company
) -> None:
    await add_product(db, company)
    key = await add_key(db, company, p_role="manager")
    await manage(db, company, "rotate_api_key", key)
    itself = Company(company.tenant_id, key.id)
    await act(db, itself, "invite_member", p_email="a@example.com", p_role="clerk")
    # A token of the key is still out there: acting_as is one.
    first = await manage(db, company, "revoke_api_key", key)
    assert (first["status"], await sees(db, key), await permissions(db, key)) == ("revoked", 0, None)
    assert await rpc(db, "read_api_key", p_api_key_id=key.id) is None
    assert await column(db, SECRETS) == []
    assert await column(db, "select status from public.invitations") == ["revoked"]
    assert await manage(db, company, "revoke_api_key", key) == first, "again it returns the same"
    for command in ("rotate_api_key", "change_api_key"):
        arguments = {"p_changes": {"name": "x"}} if command == "change_api_key" else {}
        with refused("api_key.revoked"):
            await manage(db, company, command, key, **arguments)


async def test_members_commands_leave_no_nonsense(db: Connection, company: Company) -> None:
    key = await add_key(db, company, p_role="owner")
    with refused("member.is_api_key"):
        await act(db, company, "change_role", p_principal_id=key.id, p_role="viewer")
    with refused("member.last_owner"):
        await act(db, company, "remove_member", p_principal_id=company.owner)
    await act(db, company, "remove_member", p_principal_id=key.id)
    assert await column(db, "select status from public.api_keys") == ["revoked"]
    assert await column(db, SECRETS) == []


async def test_a_key_does_not_stand_in_for_an_owner_whose_account_goes(
    db: Connection, company: Company
) -> None:
    await add_key(db, company, p_role="owner")
    await add_key(db, company, p_role="manager")
    await db.execute("delete from auth.users where id = %s", (company.owner,))
    assert await value(db, "select orphaned_at is not null from public.tenants")
    assert await value(db, "select count(*) from public.memberships where role = 'owner'") == 1


async def test_limits_are_for_keys_alone(db: Connection, company: Company) -> None:
    for limit in ("scopes = '{products.read}'", "expires_at = now()"):
        with pytest.raises(errors.CheckViolation, match="memberships_limits_of_keys"):
            await db.execute(f"update public.memberships set {limit}".encode())


async def test_a_deleted_tenant_takes_its_keys_and_secrets_along(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    async with acting_as(db, company.owner):
        await value(db, "select public.delete_tenant(%s, 'acme')", company.tenant_id)
    assert await rpc(db, "read_api_key", p_api_key_id=key.id) is None
    assert await column(db, SECRETS) == []
    assert await value(db, "select count(*) from public.api_keys") == 0
    if await value(db, "select private.secrets_home()") == "table":
        assert await value(db, KEPT) == 0


async def test_an_export_has_the_keys_and_no_secret(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    async with acting_as(db, company.owner):
        exported = await value(db, "select public.export_tenant(%s, 'api_keys')", company.tenant_id)
    assert [row["id"] for row in exported["rows"]] == [str(key.id)]
    assert key.secret not in str(exported)


async def test_a_tenant_has_at_most_200_active_keys(db: Connection, company: Company) -> None:
    await db.execute(
        "insert into public.api_keys (tenant_id, name, role) select %s, n::text, 'viewer'"
        " from generate_series(1, 200) n",
        (company.tenant_id,),
    )
    with refused("api_key.too_many"):
        await add_key(db, company)


async def test_keys_past_their_end_leave_room_and_end_after_a_month(db: Connection, company: Company) -> None:
    await stop_clock(db)
    until = await now(db) + dt.timedelta(hours=1)
    old = await add_key(db, company, p_expires_at=until)
    await db.execute(
        "insert into public.api_keys (tenant_id, name, role, expires_at) select %s, n::text, 'viewer', %s"
        " from generate_series(1, 199) n",
        (company.tenant_id, until),
    )
    with refused("api_key.too_many"):
        await add_key(db, company)
    await move_clock(db, dt.timedelta(hours=2))
    fresh = await add_key(db, company)
    await rpc(db, "forget_api_requests")
    active = "select count(*) from public.api_keys where status = 'active'"
    assert await value(db, active) == 201, "it may still be prolonged"
    await manage(
        db,
        company,
        "change_api_key",
        old,
        p_changes={"expires_at": (until + dt.timedelta(days=60)).isoformat()},
    )
    await move_clock(db, dt.timedelta(days=30))
    for _ in range(2):
        await rpc(db, "forget_api_requests")
    assert set(await column(db, "select id from public.api_keys where status = 'active'")) == {
        old.id,
        fresh.id,
    }
    assert await value(db, "select count(*) from public.memberships where kind = 'api_key'") == 2


async def test_an_invitation_ends_with_the_key_that_made_it(db: Connection, company: Company) -> None:
    await stop_clock(db)
    until = await now(db) + dt.timedelta(hours=1)
    key = await add_key(db, company, p_role="manager", p_expires_at=until)
    arguments = {"p_email": "a@example.com", "p_role": "clerk"}
    invited = await act(db, Company(company.tenant_id, key.id), "invite_member", **arguments)
    assert dt.datetime.fromisoformat(invited["expires_at"]) == until
    sooner = await act(
        db, Company(company.tenant_id, key.id), "invite_member", **arguments, p_expires_in="1 minute"
    )
    assert dt.datetime.fromisoformat(sooner["expires_at"]) < until
    by_owner = await act(db, company, "invite_member", **arguments)
    assert dt.datetime.fromisoformat(by_owner["expires_at"]) > until


async def test_a_key_ends_itself_and_no_other(db: Connection, company: Company) -> None:
    manager = await add_key(db, company, p_role="manager")
    helper = await add_key(db, company, p_role="manager", p_scopes=["members.write", "tenant.read"])
    victim = await add_key(db, company)
    by_manager = Company(company.tenant_id, manager.id)
    for name, arguments in (
        ("revoke_api_key", {"p_api_key_id": str(victim.id)}),
        ("remove_member", {"p_principal_id": victim.id}),
    ):
        with refused("api_key.by_api_key"):
            await act(db, by_manager, name, **arguments)
    with refused("access.denied"):
        await act(db, Company(company.tenant_id, helper.id), "remove_member", p_principal_id=victim.id)
    assert await permissions(db, victim) is not None
    await act(db, by_manager, "revoke_api_key", p_api_key_id=str(manager.id))
    await act(db, Company(company.tenant_id, helper.id), "remove_member", p_principal_id=helper.id)
    assert (await permissions(db, manager), await permissions(db, helper)) == (None, None)


async def test_a_key_makes_no_tenant(db: Connection, company: Company) -> None:
    """It would own it as a user does: past its scopes, its expiry and its revocation."""
    key = await add_key(db, company, p_role="owner")
    for _ in range(2):
        with refused("tenant.by_api_key"):
            async with acting_as(db, key.id):
                await value(db, "select public.create_tenant('mine', 'Mine')")
        await manage(db, company, "revoke_api_key", key)  # a token of it is still out there
    assert await value(db, "select count(*) from public.tenants where slug = 'mine'") == 0


async def test_twins_that_rotate_leave_three_secrets(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    key = await add_key(db, company)
    answers = await asyncio.gather(
        *(manage(one, company, "rotate_api_key", key) for one in (db, other, third)), return_exceptions=True
    )
    assert sum("api_key.rotating" in str(answer) for answer in answers) == 1
    good = await good_secrets(db, key)
    assert (len(good), key.secret in good) == (3, True)
    assert await value(db, "select count(*) from private.api_key_secrets") == 3


async def test_a_rotation_that_meets_a_revocation_leaves_no_secret(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    key = await add_key(db, company)

    async def rotate() -> str:
        try:
            await manage(other, company, "rotate_api_key", key)
        except errors.Error as error:
            return error.diag.message_primary or ""
        return "done"

    async with acting_as(db, company.owner):
        await value(db, "select public.revoke_api_key(%s, %s)", company.tenant_id, str(key.id))
        task = asyncio.create_task(rotate())
        await waits_for_a_lock(third, other)
    assert await task == "api_key.revoked"
    assert await column(db, SECRETS) == []


async def test_whoever_loses_the_right_while_waiting_makes_no_key(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    manager = await add_member(db, company, "manager")

    async def make() -> str:
        try:
            await add_key(other, Company(company.tenant_id, manager))
        except errors.Error as error:
            return error.diag.message_primary or ""
        return "made"

    async with acting_as(db, company.owner):
        await value(db, "select public.change_role(%s, %s, 'viewer')", company.tenant_id, manager)
        task = asyncio.create_task(make())
        await waits_for_a_lock(third, other)
    assert await task == "access.denied"


async def test_being_used_is_neither_a_version_nor_an_event(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    await rpc(db, "dispatch_outbox")
    use = {"api_key_id": str(key.id), "requests": 1, "last_used_at": (await now(db)).isoformat()}
    await rpc(db, "note_api_use", p_uses=[use])
    assert await rows(db, "select version, last_used_at is not null from public.api_keys") == [(1, True)]
    assert (await rpc(db, "dispatch_outbox"))["events"] == 0


NAIVE: LiteralString = """
create or replace function private.tenants_with(p_permission text) returns uuid[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(m.tenant_id), '{}') from public.memberships m
  join private.role_permissions rp on rp.role = m.role and rp.permission = p_permission
  where m.principal_id = auth.uid()
$$
"""


async def test_without_the_scopes_in_tenants_with_a_key_reads_what_it_may_not(
    db: Connection, company: Company
) -> None:
    """The same look as above, at the policies' source before keys: scopes live there and nowhere else."""
    await add_product(db, company)
    key = await add_key(db, company, p_scopes=["orders.read"])
    assert await sees(db, key) == 0
    await db.execute(NAIVE)
    assert await sees(db, key) == 1
