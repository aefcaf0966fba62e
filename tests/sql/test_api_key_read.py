"""What an adapter is told of a key."""

from __future__ import annotations

import datetime as dt
import uuid

from tests.databases import Connection
from tests.sql.ask import rpc
from tests.sql.company import Company, found_company
from tests.sql.keys import add_key, now


async def test_a_key_is_read_as_it_is_now(db: Connection, company: Company) -> None:
    assert await rpc(db, "read_api_key", p_api_key_id=uuid.uuid4()) is None
    assert await rpc(db, "read_api_key", p_api_key_id=company.owner) is None, "a user is no key"
    until = await now(db) + dt.timedelta(days=1)
    limits = {"p_allowed_ips": ["192.0.2.0/24"], "p_rate_per_minute": 30, "p_expires_at": until}
    key = await add_key(db, company, p_scopes=["products.read"], **limits)
    await rpc(db, "dispatch_outbox")
    record = await rpc(db, "read_api_key", p_api_key_id=key.id)
    place = await rpc(db, "log_seq", p_tenant_id=company.tenant_id)
    assert record == {
        "api_key_id": str(key.id),
        "tenant_id": str(company.tenant_id),
        "role": "integration",
        "permissions": ["products.read"],
        "fingerprint": record["fingerprint"],
        "secrets": [key.secret],
        "expires_at": key.answer["expires_at"],
        "allowed_ips": ["192.0.2.0/24"],
        "rate_per_minute": 30,
        "version": 1,
        "epoch": place["epoch"],
        "seq": place["seq"],
    }


async def test_equal_permissions_of_one_tenant_have_one_fingerprint(db: Connection, company: Company) -> None:
    other = await found_company(db, "other")
    scopes = ["orders.read", "products.read"]
    keys = [
        await add_key(db, company, p_scopes=scopes),
        await add_key(db, company, p_role="viewer", p_scopes=scopes[::-1]),
        await add_key(db, company, p_scopes=scopes[:1]),
        await add_key(db, other, p_scopes=scopes),
    ]
    prints = [(await rpc(db, "read_api_key", p_api_key_id=key.id))["fingerprint"] for key in keys]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
