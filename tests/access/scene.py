"""Two tenants with a row in every table, everybody who may come near or not, and how to be one of them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.access.permissions import MEMBERS

Session = psycopg.Connection[tuple[Any, ...]]

ROLES = {"anon": "anon", "service": "service_role"}

# What no command below makes by the way; `%(t)s` is the tenant. A new table needs a line here, or a command.
ROWS: dict[str, LiteralString] = {
    "api_keys": "insert into public.api_keys (tenant_id, name, role) values (%(t)s, 'Till', 'clerk')",
    "api_key_usage": "insert into public.api_key_usage (tenant_id, api_key_id, day)"
    " select tenant_id, id, private.today() from public.api_keys where tenant_id = %(t)s",
    "categories": "insert into public.categories (tenant_id, name, slug) values (%(t)s, 'Shoes', 'shoes')",
    "image_assets": "insert into public.image_assets (tenant_id, host, public_id, sha256, format,"
    " source_bytes, served_bytes, width, height, color_space, has_alpha, animated, had_gps, dominant_colors,"
    " blurhash, perceptual_hash) values (%(t)s, 'local', %(t)s, repeat('0', 64), 'jpeg', 1, 1, 1, 1, 'srgb',"
    " false, false, false, '{}', '', 0::bit(64))",
    "product_images": "insert into public.product_images (tenant_id, product_id, source_url)"
    " select tenant_id, id, 'https://example.com/a.png' from public.products where tenant_id = %(t)s",
    "product_image_versions": "insert into public.product_image_versions"
    " (tenant_id, image_id, number, asset_id) select i.tenant_id, i.id, 1, a.id"
    " from public.product_images i join public.image_assets a using (tenant_id) where tenant_id = %(t)s",
    "product_versions": "update public.products set name = 'New' where tenant_id = %(t)s",
    "validation_rules": "insert into public.validation_rules (tenant_id, name, message, severity, condition)"
    ' values (%(t)s, \'cheap\', \'Too dear\', \'warning\', \'{"field": "price", "op": "<", "value": 5}\')',
    "validation_warnings": "insert into public.validation_warnings (tenant_id, product_id, rule_id, code,"
    " field, detail, version) select r.tenant_id, p.id, r.id, 'rule', 'price', 'Too dear', 1"
    " from public.validation_rules r join public.products p using (tenant_id) where tenant_id = %(t)s"
    " on conflict do nothing",
    "webhook_attempts": "insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id,"
    " endpoint_id, event_id, event_type, outcome, started_at, settled_at)"
    " select private.today(), 900000 + hashtext(tenant_id::text) %% 100000, 1, tenant_id, id, 'evt_1',"
    " 'product.created', 'delivered', now(), now() from public.webhook_endpoints where tenant_id = %(t)s",
    "webhook_troubles": "insert into public.webhook_troubles"
    " (endpoint_id, tenant_id, failing_since, failures, last_failure_at)"
    " select id, tenant_id, now(), 1, now() from public.webhook_endpoints where tenant_id = %(t)s",
    "webhook_replays": "insert into public.webhook_replays"
    " (tenant_id, endpoint_id, from_at, to_at, after_seq, through_seq)"
    " select tenant_id, id, now() - interval '1 day', now(), 0, 1 from public.webhook_endpoints"
    " where tenant_id = %(t)s",
    "notifications": "select private.notify_tenant("
    "%(t)s, 'a key', 'webhook.failing', 'warning', null, 'It', 'fails')",
    "sync_changes": "insert into public.sync_changes"
    " (id, tenant_id, principal_id, client, entity, entity_id, operation, base_version, edit, stamp)"
    " select gen_random_uuid(), tenant_id, gen_random_uuid(), 'till', 'product', id, 'update', 1,"
    ' \'{"name": {"set": "New"}}\', \'1764201600123-0000-till\''
    " from public.products where tenant_id = %(t)s",
    "sync_conflicts": "insert into public.sync_conflicts"
    " (tenant_id, change_id, principal_id, entity, entity_id, field, policy)"
    " select tenant_id, id, principal_id, entity, entity_id, 'price', 'manual' from public.sync_changes"
    " where tenant_id = %(t)s",
    "sync_clients": "insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq)"
    " values (%(t)s, gen_random_uuid(), 'till', 'abc', 1)",
    "inbound_webhooks": "insert into public.inbound_webhooks"
    " (tenant_id, principal_id, event_id, kind, type, data, occurred_at)"
    " values (%(t)s, gen_random_uuid(), '1', 'product', 'product.updated', '{}', now())",
    "inbox_messages": "insert into public.inbox_messages"
    " (tenant_id, principal_id, source, message_id, entity, entity_id, sender_version, occurred_at)"
    " values (%(t)s, gen_random_uuid(), 'erp', '1', 'product', gen_random_uuid(), 1, now())",
    "sync_policies": "insert into public.sync_policies (tenant_id, entity, field, policy)"
    " values (%(t)s, 'product', 'name', 'manual')",
    "stock_outs": "with place as (insert into public.locations (tenant_id, code, name)"
    " values (%(t)s, 'ATTIC', 'Attic') returning id)"
    " insert into public.stock_levels (tenant_id, product_id, location_id)"
    " select p.tenant_id, p.id, place.id from public.products p, place where p.tenant_id = %(t)s limit 1",
    "reconciliation_findings": "insert into public.reconciliation_findings (tenant_id, run_id, level_id,"
    " product_id, location_id, kind, level_amount, other_amount, level_version)"
    " select tenant_id, id, id, product_id, location_id, 'ledger', 1, 2, 1"
    " from public.stock_levels where tenant_id = %(t)s",
}


@dataclass(frozen=True)
class Scene:
    own: uuid.UUID
    other: uuid.UUID
    people: dict[str, uuid.UUID]

    def identity(self, actor: str) -> tuple[str, str]:
        """Role and claims."""
        role = ROLES.get(actor, "authenticated")
        claims = {"role": role}
        if actor in self.people:
            claims["sub"] = str(self.people[actor])
        return role, json.dumps(claims)


def set_scene(db: Session) -> Scene:
    people = {actor: _user(db) for actor in (*MEMBERS, "rival", "loner", "removed")}
    own, other = _tenant(db, "own", people["owner"]), _tenant(db, "other", people["rival"])
    for actor in (*MEMBERS[1:], "removed"):
        db.execute(
            "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, %s)",
            (own, people[actor], "manager" if actor == "removed" else actor),
        )
    db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, 'clerk')",
        (other, _user(db)),
    )
    _call(db, people["owner"], "select public.remove_member(%s, %s)", own, people["removed"])
    for tenant, owner in ((own, people["owner"]), (other, people["rival"])):
        _furnish(db, tenant, owner)
    db.execute("select worker.dispatch_outbox()")
    return Scene(own, other, people)


@contextlib.contextmanager
def acting(db: Session, scene: Scene, actor: str) -> Iterator[None]:
    """Within a transaction; whatever happens in the block is undone."""
    role, claims = scene.identity(actor)
    begin = sql.SQL("savepoint probe; set local role {}; set local request.jwt.claims = {}")
    db.execute(begin.format(sql.Identifier(role), sql.Literal(claims)))
    try:
        yield
    finally:
        db.execute("rollback to savepoint probe")


def _furnish(db: Session, tenant: uuid.UUID, owner: uuid.UUID) -> None:
    suffix = str(tenant)[:8]
    product = _first(
        db,
        "insert into public.products (tenant_id, sku, name, status, price)"
        " values (%s, %s, 'Shirt', 'active', 10) returning id",
        tenant,
        f"SHIRT-{suffix}",
    )
    place = _first(
        db,
        "insert into public.locations (tenant_id, code, name) values (%s, %s, 'Main') returning id",
        tenant,
        f"MAIN-{suffix}",
    )
    line = {"product_id": str(product), "location_id": str(place), "quantity": 5}
    _call(db, owner, "select public.receive_stock(%s, %s)", tenant, json.dumps([line]))
    _call(db, owner, "select public.create_webhook_endpoint(%s, %s)", tenant, "https://example.com/hook")
    _call(db, owner, "select public.invite_member(%s, 'new@example.com', 'clerk')", tenant)
    one = json.dumps([{"product_id": str(product), "quantity": 1}])
    _call(db, owner, "select public.place_order(%s, %s)", tenant, one)
    for statement in ROWS.values():
        db.execute(statement, {"t": tenant})


def _user(db: Session) -> uuid.UUID:
    user = uuid.uuid4()
    db.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.com"))
    return user


def _tenant(db: Session, slug: str, owner: uuid.UUID) -> uuid.UUID:
    tenant: uuid.UUID = _call(db, owner, "select (public.create_tenant(%s, %s)).id", slug, slug)
    return tenant


def _call(db: Session, principal: uuid.UUID, statement: LiteralString, *values: object) -> Any:
    claims = json.dumps({"role": "authenticated", "sub": str(principal)})
    with db.transaction():
        db.execute("set local role authenticated")
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        return _first(db, statement, *values)


def _first(db: Session, statement: LiteralString, *values: object) -> Any:
    row = db.execute(statement, values).fetchone()
    return row and row[0]
