"""API keys: made once, cut to their scopes, never stronger than their maker, gone at once."""

from __future__ import annotations

import re
import uuid

import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import column, rpc, value
from tests.sql.company import Company, add_member, add_product, found_company
from tests.sql.keys import act, add_key, good_secrets, manage, permissions, refused, sees


async def test_a_secret_is_shown_once_and_stands_in_no_event_and_no_table(
    db: Connection, company: Company
) -> None:
    key = await add_key(db, company, p_name=" Till ", p_allowed_ips=["192.0.2.7", "2001:db8::/48"])
    assert re.fullmatch(r"pms_sk_[A-Za-z0-9_-]{43}", key.secret)
    assert key.answer["key"] == f"key_{key.id.hex}"
    assert key.answer["allowed_ips"] == ["192.0.2.7/32", "2001:db8::/48"]
    assert (key.answer["name"], key.answer["role"], key.answer["status"]) == ("Till", "integration", "active")
    assert await good_secrets(db, key) == [key.secret]
    rotated = await manage(db, company, "rotate_api_key", key)
    changed = await manage(db, company, "change_api_key", key, p_changes={"name": "Till 2"})
    assert "secret" not in changed
    assert rotated["secret"] != key.secret
    await manage(db, company, "revoke_api_key", key)
    await rpc(db, "dispatch_outbox")
    log = "select type from public.events where entity in ('api_key', 'membership') order by seq"
    assert await column(db, log) == [
        "membership.created",
        *("api_key.created", "membership.created"),
        *("api_key.updated", "api_key.updated"),
        *("api_key.revoked", "membership.deleted"),
    ]
    everything = "select string_agg(body, ' ') from public.events"
    for table in ("api_keys", "memberships"):
        everything += f" union all select string_agg(to_jsonb(t)::text, ' ') from public.{table} t"
    assert not [text for text in await column(db, everything) if text and "pms_sk_" in text]
    actors = "select distinct actor from public.events where entity = 'api_key'"
    assert await column(db, actors) == [company.owner]


@pytest.mark.parametrize("role", ["clerk", "viewer", "integration", "stranger"])
async def test_only_owners_and_managers_manage_keys(db: Connection, company: Company, role: str) -> None:
    key = await add_key(db, company)
    other = await found_company(db, "other")
    who = other.owner if role == "stranger" else await add_member(db, company, role)
    answer = "tenant.not_found" if role == "stranger" else "access.denied"
    with refused(answer):
        await add_key(db, Company(company.tenant_id, who))
    for command in ("rotate_api_key", "revoke_api_key", "change_api_key"):
        arguments = {"p_changes": {"name": "x"}} if command == "change_api_key" else {}
        with refused(answer):
            await manage(db, Company(company.tenant_id, who), command, key, **arguments)
        # Of another tenant's key one is told what one is told of none.
        with refused("api_key.not_found"):
            await manage(db, other, command, key, **arguments)
    assert await good_secrets(db, key) == [key.secret]
    async with acting_as(db, who):
        assert await value(db, "select count(*) from public.api_keys") == 0


BAD: list[tuple[dict[str, object], str]] = [
    ({"p_name": " "}, "api_key.name_invalid"),
    ({"p_name": "a" * 201}, "api_key.name_invalid"),
    ({"p_name": "bell\x07"}, "api_key.name_invalid"),
    ({"p_role": "admin"}, "role.unknown"),
    ({"p_scopes": []}, "api_key.scopes_invalid"),
    ({"p_scopes": ["products.delete"]}, "api_key.scopes_invalid"),
    ({"p_scopes": ["products.read", "products.everything"]}, "api_key.scopes_invalid"),
    ({"p_scopes": [None]}, "api_key.scopes_invalid"),
    ({"p_expires_at": "2020-01-01T00:00:00Z"}, "api_key.expiry_invalid"),
    ({"p_expires_at": "infinity"}, "api_key.expiry_invalid"),
    ({"p_allowed_ips": []}, "api_key.allowed_ips_invalid"),
    ({"p_allowed_ips": ["192.0.2.0/24", "shop.example.com"]}, "api_key.allowed_ips_invalid"),
    ({"p_allowed_ips": ["192.0.2.7/24"]}, "api_key.allowed_ips_invalid"),
    ({"p_allowed_ips": ["192.0.2.7"] * 51}, "api_key.allowed_ips_invalid"),
    ({"p_rate_per_minute": 0}, "api_key.rate_invalid"),
    ({"p_rate_per_minute": 100_001}, "api_key.rate_invalid"),
]


@pytest.mark.parametrize(("arguments", "code"), BAD)
async def test_bad_input_is_refused_when_a_key_is_made_and_when_it_is_changed(
    db: Connection, company: Company, arguments: dict[str, object], code: str
) -> None:
    with refused(code):
        await add_key(db, company, **arguments)
    key = await add_key(db, company)
    changes = {name.removeprefix("p_"): given for name, given in arguments.items()}
    with refused(code):
        await manage(db, company, "change_api_key", key, p_changes=changes)
    assert await value(db, "select version from public.api_keys") == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": str(uuid.uuid4())}, "row.field_unknown"),
        ({"status": "active"}, "row.field_unknown"),
        ({"rate_per_minute": "many"}, "row.invalid"),
        ({"expires_at": "soon"}, "row.invalid"),
        ({"scopes": "products.read"}, "row.invalid"),
        ({"allowed_ips": "192.0.2.7"}, "row.invalid"),
        ({"version": 7, "name": "x"}, "version.stale"),
        ({"role": None}, "role.unknown"),
    ],
)
async def test_changes_that_are_none_are_refused(
    db: Connection, company: Company, changes: dict[str, object], code: str
) -> None:
    key = await add_key(db, company)
    with refused(code):
        await manage(db, company, "change_api_key", key, p_changes=changes)


async def test_nobody_makes_a_key_stronger_than_themselves(db: Connection, company: Company) -> None:
    manager = Company(company.tenant_id, await add_member(db, company, "manager"))
    with refused("access.denied"):
        await add_key(db, manager, p_role="owner")
    with refused("access.denied"):
        await add_key(db, manager, p_role="owner", p_scopes=["products.read"])
    strong = await add_key(db, company, p_role="owner")
    for command in ("rotate_api_key", "revoke_api_key"):
        with refused("access.denied"):
            await manage(db, manager, command, strong)
    with refused("access.denied"):
        await manage(db, manager, "change_api_key", strong, p_changes={"role": "viewer"})
    weak = await add_key(db, manager, p_role="manager")
    with refused("access.denied"):
        await manage(db, manager, "change_api_key", weak, p_changes={"role": "owner"})
    assert await good_secrets(db, strong) == [strong.secret]


async def test_a_key_makes_no_keys_and_gives_nobody_what_it_lacks(db: Connection, company: Company) -> None:
    """Else one that ends tomorrow would make one that does not, and a stolen one a member."""
    scopes = ["api_keys.write", "members.write", "tenant.read"]
    key = await add_key(db, company, p_role="manager", p_scopes=scopes)
    twin = await add_key(db, company, p_role="manager", p_scopes=scopes)
    itself = Company(company.tenant_id, key.id)
    with refused("api_key.by_api_key"):
        await add_key(db, itself, p_scopes=["tenant.read"])
    for command in ("rotate_api_key", "change_api_key"):
        arguments = {"p_changes": {"expires_at": None}} if command == "change_api_key" else {}
        with refused("api_key.by_api_key"):
            await manage(db, itself, command, twin, **arguments)
    with refused("api_key.by_api_key"):
        await manage(db, itself, "change_api_key", key, p_changes={"scopes": None})
    member = await add_member(db, company, "viewer")
    with refused("access.denied"):
        await act(db, itself, "invite_member", p_email="friend@example.com", p_role="manager")
    with refused("access.denied"):
        await act(db, itself, "change_role", p_principal_id=member, p_role="clerk")
    renewed = await manage(db, itself, "rotate_api_key", key, p_overlap="0")
    assert await good_secrets(db, key) == [renewed["secret"]], "it may renew itself"


async def test_scopes_cut_the_role_down_and_change_at_once(db: Connection, company: Company) -> None:
    await add_product(db, company)
    key = await add_key(db, company, p_scopes=["products.read"])
    assert (await permissions(db, key), await sees(db, key)) == (["products.read"], 1)
    async with acting_as(db, key.id):
        for table in ("orders", "stock_levels", "tenants", "webhook_endpoints"):
            assert await value(db, f"select count(*) from public.{table}") == 0
    with refused("access.denied"):
        await act(
            db, Company(company.tenant_id, key.id), "create_product", p_product={"sku": "A", "name": "A"}
        )
    await manage(db, company, "change_api_key", key, p_changes={"scopes": ["orders.read"]})
    assert (await permissions(db, key), await sees(db, key)) == (["orders.read"], 0)
    await manage(db, company, "change_api_key", key, p_changes={"scopes": None, "role": "viewer"})
    assert await permissions(db, key) == [
        *("inventory.read", "orders.read", "products.read", "tenant.read"),
    ]
    record = await rpc(db, "read_api_key", p_api_key_id=key.id)
    assert record["permissions"] == await permissions(db, key)


async def test_a_role_that_loses_a_permission_takes_it_from_scopes_too(
    db: Connection, company: Company
) -> None:
    await add_product(db, company)
    key = await add_key(db, company, p_scopes=["products.read", "orders.read"])
    await db.execute("delete from private.role_permissions where permission = 'products.read'")
    assert (await permissions(db, key), await sees(db, key)) == (["orders.read"], 0)


async def test_changing_to_another_role_needs_scopes_that_it_has(db: Connection, company: Company) -> None:
    key = await add_key(db, company, p_scopes=["products.write"])
    with refused("api_key.scopes_invalid"):
        await manage(db, company, "change_api_key", key, p_changes={"role": "viewer"})
    changes = {"role": "viewer", "scopes": ["products.read"]}
    assert (await manage(db, company, "change_api_key", key, p_changes=changes))["version"] == 2


async def test_a_refusal_names_what_is_wrong_with_a_list(db: Connection, company: Company) -> None:
    networks, scopes = "api_key.allowed_ips_invalid", "api_key.scopes_invalid"
    cases: list[tuple[str, dict[str, object], str]] = [
        (
            networks,
            {"p_allowed_ips": ["192.0.2.5/24", "10.0.0.0/8", "shop"]},
            "These are no networks: 192.0.2.5/24, which is a host in 192.0.2.0/24; shop.",
        ),
        (networks, {"p_allowed_ips": []}, "A list has 1 to 50 networks."),
        (scopes, {"p_scopes": []}, "The list of scopes is empty: a key without any can do nothing."),
        (
            scopes,
            {"p_scopes": ["products.delete"]},
            "The role integration has no permission products.delete.",
        ),
    ]
    for code, arguments, detail in cases:
        with refused(code) as told:
            await add_key(db, company, **arguments)
        assert told.value.diag.message_detail == detail


async def test_networks_are_kept_flat_whatever_shape_they_came_in(db: Connection, company: Company) -> None:
    """Nested, no adapter would read the key: every request of it would fail."""
    async with acting_as(db, company.owner):
        made = await value(
            db,
            "select public.create_api_key(%s, 'till',"
            " p_allowed_ips => '{{192.0.2.9,192.0.2.7},{10.0.0.0/8,::1}}')",
            company.tenant_id,
        )
    assert made["allowed_ips"] == ["192.0.2.9/32", "192.0.2.7/32", "10.0.0.0/8", "::1/128"]
