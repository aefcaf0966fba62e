"""Over HTTP: a role change counts at once, under the token that was there before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from tests.people import People, Tenant


async def test_an_old_token_has_the_new_role(
    people: People, tenant: Tenant, rest: Callable[..., httpx.AsyncClient]
) -> None:
    person, owner = await people.make_user(), rest(tenant.owner)
    invited = await _rpc(owner, "invite_member", p_tenant_id=tenant.id, p_email=person.email, p_role="viewer")
    theirs = rest(person)
    await _rpc(theirs, "accept_invitation", p_token=invited["token"])
    product = {"tenant_id": str(tenant.id), "sku": "A1", "name": "Boot"}

    assert (await theirs.post("/products", json=product)).status_code == 403
    promote = {"p_tenant_id": tenant.id, "p_principal_id": person.id}
    await _rpc(owner, "change_role", **promote, p_role="manager")
    assert (await theirs.post("/products", json=product)).status_code == 201
    [mine] = (await theirs.get("/rpc/my_permissions", params={"p_tenant_id": str(tenant.id)})).json()
    assert mine["role"] == "manager"
    assert "products.write" in mine["permissions"]

    await _rpc(owner, "remove_member", **promote)
    assert (await theirs.get("/products")).json() == []
    assert (await theirs.post("/products", json={**product, "sku": "A2"})).status_code == 403


async def _rpc(client: httpx.AsyncClient, name: str, **arguments: Any) -> Any:
    answer = await client.post(f"/rpc/{name}", json={key: str(value) for key, value in arguments.items()})
    assert answer.is_success, answer.text
    return answer.json()
