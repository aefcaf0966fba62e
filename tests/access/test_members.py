"""People come by invitation, change roles at once, and leave; an owner always stays."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable
from typing import Any

import psycopg
import pytest

from tests.access.members import accept, add_invited_user, change_role, invite, remove, role_of
from tests.databases import Connection, acting_as, add_user
from tests.sql.ask import call, column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_member, found_company


async def refused(attempt: Awaitable[Any], code: str, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as error:
        await attempt
    assert (error.value.diag.message_primary, error.value.sqlstate) == (code, sqlstate)


# -- invitations ---------------------------------------------------------------------------------------------


async def test_an_invited_user_joins_in_the_role_they_were_invited_for(
    db: Connection, company: Company
) -> None:
    person, email = await add_invited_user(db, "New.Person@example.com")
    invitation = await invite(db, company, email.lower(), "manager")
    assert invitation["token"].startswith("inv_")
    member = await accept(db, person, invitation["token"])
    assert (member["role"], member["tenant_id"]) == ("manager", str(company.tenant_id))
    assert await role_of(db, company, person) == "manager"
    assert await accept(db, person, invitation["token"]) == member, "the first answer may have been lost"


async def test_the_token_is_kept_nowhere(db: Connection, company: Company) -> None:
    token = (await invite(db, company, "new@example.com"))["token"]
    for query in (
        "select i::text from public.invitations i",
        "select o::text from private.outbox o",
    ):
        for text in await column(db, query):
            assert token not in text
    logged = await column(db, "select new_row from private.outbox where entity = 'invitation'")
    assert logged
    assert not {"token_hash", "email"} & set(logged[0])


async def test_an_invitation_is_for_one_address_one_time_and_a_while(
    db: Connection, company: Company
) -> None:
    await stop_clock(db)
    person, email = await add_invited_user(db)
    token = (await invite(db, company, email))["token"]
    await refused(accept(db, await add_user(db), token), "invitation.not_yours", "PT403")
    await refused(accept(db, person, "inv_guess"), "invitation.not_found", "PT404")
    await move_clock(db, dt.timedelta(days=7, seconds=1))
    await refused(accept(db, person, token), "invitation.ended", "PT410")

    first, second = (await invite(db, company, email))["token"], (await invite(db, company, email))["token"]
    await refused(accept(db, person, first), "invitation.ended", "PT410")
    await accept(db, person, second)
    await remove(db, company, person)
    await refused(accept(db, person, second), "invitation.ended", "PT410")


async def test_a_revoked_invitation_lets_nobody_in(db: Connection, company: Company) -> None:
    person, email = await add_invited_user(db)
    invitation = await invite(db, company, email)
    async with acting_as(db, company.owner):
        revoked = await call(
            db, "public", "revoke_invitation",
            p_tenant_id=company.tenant_id, p_invitation_id=invitation["invitation_id"],
        )  # fmt: skip
    assert revoked["status"] == "revoked"
    assert "token_hash" not in revoked
    await refused(accept(db, person, invitation["token"]), "invitation.ended", "PT410")


@pytest.mark.parametrize("role", ["clerk", "viewer", "integration"])
async def test_who_does_not_look_after_members_invites_nobody(
    db: Connection, company: Company, role: str
) -> None:
    member = await add_member(db, company, role)
    await refused(invite(db, company, "x@example.com", "viewer", who=member), "access.denied", "PT403")
    await refused(change_role(db, company, member, "manager", who=member), "access.denied", "PT403")
    await refused(remove(db, company, company.owner, who=member), "access.denied", "PT403")


async def test_managers_look_after_all_but_owners(db: Connection, company: Company) -> None:
    manager, clerk = await add_member(db, company, "manager"), await add_member(db, company, "clerk")
    await invite(db, company, "x@example.com", "manager", who=manager)
    await refused(invite(db, company, "y@example.com", "owner", who=manager), "access.denied", "PT403")
    await refused(change_role(db, company, clerk, "owner", who=manager), "access.denied", "PT403")
    await refused(change_role(db, company, manager, "owner", who=manager), "access.denied", "PT403")
    await refused(change_role(db, company, company.owner, "clerk", who=manager), "access.denied", "PT403")
    await refused(remove(db, company, company.owner, who=manager), "access.denied", "PT403")
    assert (await change_role(db, company, clerk, "viewer", who=manager))["role"] == "viewer"
    await remove(db, company, clerk, who=manager)
    assert await role_of(db, company, clerk) is None


async def test_bad_requests_are_told_what_is_wrong(db: Connection, company: Company) -> None:
    await refused(invite(db, company, "x@example.com", "king"), "role.unknown", "PT422")
    await refused(change_role(db, company, company.owner, "king"), "role.unknown", "PT422")
    await refused(change_role(db, company, uuid.uuid4(), "clerk"), "member.not_found", "PT404")
    await refused(remove(db, company, uuid.uuid4()), "member.not_found", "PT404")
    with pytest.raises(psycopg.errors.CheckViolation, match="invitations_email_form"):
        await invite(db, company, "no address")
    member, email = await add_invited_user(db)
    await accept(db, member, (await invite(db, company, email))["token"])
    await refused(invite(db, company, email.upper()), "member.exists", "PT409")


async def test_other_tenants_members_are_out_of_reach(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    for attempt in (
        invite(db, company, "x@example.com", who=rival.owner),
        change_role(db, company, company.owner, "viewer", who=rival.owner),
        remove(db, company, company.owner, who=rival.owner),
    ):
        await refused(attempt, "tenant.not_found", "PT404")


async def test_what_a_former_manager_invited_is_off(db: Connection, company: Company) -> None:
    manager = await add_member(db, company, "manager")
    person, email = await add_invited_user(db)
    token = (await invite(db, company, email, "manager", who=manager))["token"]
    await remove(db, company, manager)
    await refused(accept(db, person, token), "invitation.ended", "PT410")


async def test_twins_accept_once(db: Connection, other: Connection, company: Company) -> None:
    person, email = await add_invited_user(db)
    token = (await invite(db, company, email))["token"]
    first, second = await asyncio.gather(accept(db, person, token), accept(other, person, token))
    assert first == second
    joined = "select count(*) from private.outbox where entity = 'membership' and operation = 'INSERT'"
    assert await value(db, joined) == 2, "the owner, and the one who joined"


# -- the last owner ------------------------------------------------------------------------------------------


async def test_the_last_owner_stays(db: Connection, company: Company) -> None:
    await add_member(db, company, "manager")
    await refused(remove(db, company, company.owner), "member.last_owner", "PT409")
    await refused(change_role(db, company, company.owner, "manager"), "member.last_owner", "PT409")
    second = await add_member(db, company, "owner")
    await remove(db, company, company.owner)
    await refused(remove(db, company, second, who=second), "member.last_owner", "PT409")


async def test_anyone_may_leave(db: Connection, company: Company) -> None:
    for role in ("owner", "manager", "clerk", "viewer", "integration"):
        member = await add_member(db, company, role)
        await remove(db, company, member, who=member)
        assert await role_of(db, company, member) is None


async def test_of_two_owners_who_demote_each_other_one_wins(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    rival = await add_member(db, company, "owner")
    async with open_transaction(db):
        await _as(db, company.owner)
        await call(
            db, "public", "change_role", p_tenant_id=company.tenant_id, p_principal_id=rival, p_role="clerk"
        )
        late = change_role(other, company, company.owner, "clerk", who=rival)
        async with in_background(refused(late, "access.denied", "PT403")):
            await waits_for_a_lock(third, other)
            await db.commit()
    owners = "select principal_id from public.memberships where tenant_id = %s and role = 'owner'"
    assert await column(third, owners, company.tenant_id) == [company.owner]


async def test_of_two_owners_who_leave_at_once_one_stays(
    db: Connection, other: Connection, third: Connection, company: Company
) -> None:
    second = await add_member(db, company, "owner")
    async with open_transaction(db):
        await _as(db, company.owner)
        await call(db, "public", "remove_member", p_tenant_id=company.tenant_id, p_principal_id=company.owner)
        late = remove(other, company, second, who=second)
        async with in_background(refused(late, "member.last_owner", "PT409")):
            await waits_for_a_lock(third, other)
            await db.commit()
    assert await role_of(third, company, second) == "owner"


# -- deleted users -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deletion",
    ["delete from auth.users where id = %s", "update auth.users set deleted_at = now() where id = %s"],
)
async def test_a_deleted_user_leaves_and_the_oldest_manager_takes_over(
    db: Connection, company: Company, deletion: Any
) -> None:
    heir, later = await add_member(db, company, "manager"), await add_member(db, company, "manager")
    await db.execute(deletion, (company.owner,))
    assert await role_of(db, company, company.owner) is None
    assert [await role_of(db, company, heir), await role_of(db, company, later)] == ["owner", "manager"]


async def test_a_tenant_without_heirs_is_orphaned_until_the_project_adopts_it(
    db: Connection, company: Company
) -> None:
    clerk = await add_member(db, company, "clerk")
    await db.execute("delete from auth.users where id = %s", (company.owner,))
    assert await value(
        db, "select orphaned_at is not null from public.tenants where id = %s", company.tenant_id
    )
    async with acting_as(db, role="service_role"):
        await call(
            db, "public", "change_role",
            p_tenant_id=company.tenant_id, p_principal_id=clerk, p_role="owner",
        )  # fmt: skip
    assert await rows(db, "select from public.tenants where orphaned_at is not null") == []
    await rpc(db, "dispatch_outbox")
    types = await column(db, "select type from public.events where entity = 'tenant' order by seq")
    assert types == ["tenant.created", "tenant.orphaned", "tenant.adopted"]


async def test_other_owners_are_left_alone(db: Connection, company: Company) -> None:
    second, manager = await add_member(db, company, "owner"), await add_member(db, company, "manager")
    await db.execute("delete from auth.users where id = %s", (second,))
    assert await role_of(db, company, manager) == "manager"
    assert await value(db, "select orphaned_at from public.tenants where id = %s", company.tenant_id) is None


# -- what may I do? ------------------------------------------------------------------------------------------


async def test_permissions_are_there_to_be_read(db: Connection, company: Company) -> None:
    viewer = await add_member(db, company, "viewer")
    query = "select role, permissions from public.my_permissions(%s)"
    async with acting_as(db, viewer):
        [(role, permissions)] = await rows(db, query, company.tenant_id)
    assert role == "viewer"
    assert "products.read" in permissions
    assert all(permission.endswith(".read") for permission in permissions)
    async with acting_as(db, await add_user(db)):
        assert await rows(db, query, company.tenant_id) == []
    rival = await found_company(db, "rival")
    await db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, 'clerk')",
        (rival.tenant_id, company.owner),
    )
    async with acting_as(db, company.owner):
        both = await rows(db, "select tenant_id, role from public.my_permissions()")
    assert dict(both) == {company.tenant_id: "owner", rival.tenant_id: "clerk"}


async def _as(connection: Connection, principal: uuid.UUID) -> None:
    """Within the open transaction, as `acting_as` does for one of its own."""
    await connection.execute("set local role authenticated")
    claims = f'{{"role": "authenticated", "sub": "{principal}"}}'
    await connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
