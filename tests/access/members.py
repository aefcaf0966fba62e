"""Joining, promoting and leaving, in one line each."""

from __future__ import annotations

import uuid
from typing import Any

from tests.databases import Connection, acting_as, add_user
from tests.sql.ask import call, value
from tests.sql.company import Company


async def invite(
    db: Connection, company: Company, email: str, role: str = "clerk", *, who: uuid.UUID | None = None
) -> Any:
    async with acting_as(db, who or company.owner):
        return await call(
            db, "public", "invite_member", p_tenant_id=company.tenant_id, p_email=email, p_role=role
        )


async def accept(db: Connection, who: uuid.UUID, token: str) -> Any:
    async with acting_as(db, who):
        return await call(db, "public", "accept_invitation", p_token=token)


async def change_role(
    db: Connection, company: Company, member: uuid.UUID, role: str, *, who: uuid.UUID | None = None
) -> Any:
    async with acting_as(db, who or company.owner):
        return await call(
            db, "public", "change_role", p_tenant_id=company.tenant_id, p_principal_id=member, p_role=role
        )


async def remove(db: Connection, company: Company, member: uuid.UUID, *, who: uuid.UUID | None = None) -> Any:
    async with acting_as(db, who or company.owner):
        return await call(db, "public", "remove_member", p_tenant_id=company.tenant_id, p_principal_id=member)


async def role_of(db: Connection, company: Company, member: uuid.UUID) -> Any:
    """The role, or None for somebody who is no member."""
    return await value(
        db,
        "select role from public.memberships where tenant_id = %s and principal_id = %s",
        company.tenant_id,
        member,
    )


async def add_invited_user(db: Connection, email: str = "new@example.com") -> tuple[uuid.UUID, str]:
    return await add_user(db, email), email
