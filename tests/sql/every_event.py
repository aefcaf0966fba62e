"""Real changes, as many kinds as there are: what the event catalogue is held against."""

from __future__ import annotations

import uuid
from typing import LiteralString

from tests.databases import Connection
from tests.sql.ask import rpc, value
from tests.sql.catalogue import product_command, set_price
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_endpoint, add_member, add_product, found_company
from tests.sql.inventory import add_shelf, command, reserve, set_limits, settle
from tests.sql.keys import add_key, manage
from tests.sql.ordering import open_shop, order_in

STATUSES = (
    "needs_review", "partially_fulfilled", "fulfilled", "shipped", "cancelled", "refunded", "returned",
)  # fmt: skip

# Each made, changed and deleted.
SIMPLE: dict[str, tuple[LiteralString, ...]] = {
    "category": (
        (
            "insert into public.categories (tenant_id, name, slug, attribute_schema)"
            " values (%(tenant)s, 'Boots', 'boots', '{\"type\": \"object\"}')"
        ),
        "update public.categories set name = 'Shoes'",
        "delete from public.categories",
    ),
    "location": (
        "insert into public.locations (tenant_id, code, name) values (%(tenant)s, 'OLD', 'Old')",
        "update public.locations set name = 'Older' where code = 'OLD'",
        "delete from public.locations where code = 'OLD'",
    ),
    "product_image": (
        (
            "insert into public.product_images (tenant_id, product_id, source_url)"
            " values (%(tenant)s, %(product)s, 'https://img.example.com/1.jpg')"
        ),
        "update public.product_images set alt_text = 'A boot'",
        "update public.product_images set status = 'fetching'",
        "update public.product_images set status = 'processing'",
        (
            "with asset as (insert into public.image_assets (tenant_id, host, public_id, sha256, format,"
            " source_bytes, served_bytes, width, height, color_space, has_alpha, animated, had_gps,"
            " dominant_colors, blurhash, perceptual_hash, urls, stored_at)"
            " values (%(tenant)s, 'local', 'boot', repeat('0', 64), 'jpeg', 9000, 900, 640, 480, 'srgb',"
            " false, false, false, '{#334455}', 'LEHV6nWB2yk8', 0::bit(64),"
            ' \'{"master": "https://img.example.com/boot/master.webp"}\', private.now()) returning id, urls)'
            " update public.product_images i set status = 'ready', asset_id = asset.id, urls = asset.urls,"
            " content_version = 1, width = 640, height = 480, blurhash = 'LEHV6nWB2yk8' from asset"
        ),
        (
            "update public.product_images set status = 'failed',"
            ' error = \'{"code": "image.source_refused", "detail": "The server answered 404."}\''
        ),
        (
            "update public.product_images set status = 'quarantined',"
            ' error = \'{"code": "image.type_unknown", "detail": "The file is no picture."}\''
        ),
        "delete from public.product_images",
    ),
    "stock_level": (
        "insert into public.locations (tenant_id, code, name) values (%(tenant)s, 'TMP', 'Temporary')",
        (
            "insert into public.stock_levels (tenant_id, product_id, location_id)"
            " select tenant_id, %(product)s, id from public.locations where code = 'TMP'"
        ),
        (
            "delete from public.stock_levels l using public.locations p"
            " where p.id = l.location_id and p.code = 'TMP'"
        ),
    ),
    "tenant": (
        "insert into public.tenants (slug, name) values ('brief', 'Brief')",
        "update public.tenants set orphaned_at = private.now() where slug = 'brief'",
        "update public.tenants set orphaned_at = null where slug = 'brief'",
        "update public.tenants set name = 'Briefer' where slug = 'brief'",
        "delete from public.tenants where slug = 'brief'",
    ),
}


async def make_every_event(db: Connection, company: Company) -> None:
    """Leaves the changes in the outbox; the clock stands still afterwards."""
    product = await add_product(db, company, "BOOT-42", 'Boots "42" — 半')
    for statements in SIMPLE.values():
        for statement in statements:
            await db.execute(statement, {"tenant": company.tenant_id, "product": product})
    await _live_as_a_product(db, company, product)
    await _come_and_go(db, company)
    await _run_low(db, company)
    await stop_clock(db)
    for status in STATUSES:
        shop = await open_shop(db, await found_company(db, status.replace("_", "-")))
        order = await order_in(db, shop, status)
        if status == "cancelled":
            await db.execute(
                'update public.orders set customer = \'{"name": "K"}\' where id = %s', (order["id"],)
            )
            await db.execute("delete from public.reservations where order_id = %s", (order["id"],))
            await db.execute("delete from public.orders where id = %s", (order["id"],))


async def _live_as_a_product(db: Connection, company: Company, product: uuid.UUID) -> None:
    await set_price(db, product)
    for step in ("publish", "unpublish", "delete", "restore"):
        await product_command(db, company, step, product)
    for change in (
        "status = 'archived'",
        "status = 'draft', publish_at = private.now() + interval '1 day'",
        'publish_failures = \'[{"code": "publish.price_missing"}]\'',
    ):
        await db.execute(f"update public.products set {change} where id = %s".encode(), (product,))


async def _come_and_go(db: Connection, company: Company) -> None:
    member = await add_member(db, company, "viewer")
    await db.execute("update public.memberships set role = 'clerk' where principal_id = %s", (member,))
    await db.execute("delete from public.memberships where principal_id = %s", (member,))
    key = await add_key(db, company)
    await manage(db, company, "change_api_key", key, p_changes={"name": "Till 2"})
    await manage(db, company, "revoke_api_key", key)
    await db.execute("delete from public.api_keys where id = %s", (key.id,))
    await command(db, company, "invite_member", email="new@example.com", role="clerk")
    await db.execute("update public.invitations set status = 'revoked'")
    await db.execute("delete from public.invitations")
    endpoint = await add_endpoint(db, company, events=("product.*", "order.paid"))
    for status in ("paused", "disabled"):
        await db.execute(
            "update public.webhook_endpoints set status = %s where id = %s", (status, endpoint["id"])
        )
    await db.execute("delete from public.webhook_endpoints where id = %s", (endpoint["id"],))


async def _run_low(db: Connection, company: Company) -> None:
    shelf = await add_shelf(db, company, 10)
    await set_limits(db, shelf, reorder_point=5)
    held = await reserve(db, company, [shelf.line(10)])
    await settle(db, company, "release", held)
    committed = await settle(db, company, "commit", await reserve(db, company, [shelf.line(2)]))
    await settle(db, company, "ship", committed)
    assert await value(db, "select out_since is null from public.stock_levels where on_hand = 8")
    await rpc(db, "sweep_reservations")
