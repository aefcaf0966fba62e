"""What an endpoint can be told: its settings, its headers, its secrets and their rotation."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, rpc, value
from tests.sql.clock import move_clock
from tests.sql.company import Company, add_endpoint, found_company
from tests.sql.lane_worker import LaneWorker


async def create(db: Connection, company: Company, **options: object) -> dict[str, Any]:
    async with acting_as(db, company.owner):
        made: dict[str, Any] = await call(
            db,
            "public",
            "create_webhook_endpoint",
            p_tenant_id=company.tenant_id,
            p_url="https://example.com/hook",
            **options,
        )
    return made


async def secrets(worker: LaneWorker, endpoint: dict[str, Any]) -> list[tuple[str, str | None]]:
    [lane] = await worker.describe(endpoint["lane_id"])
    return [(each["secret"], each["expires_at"]) for each in lane["secrets"]]


async def rotate(
    db: Connection, company: Company, endpoint: dict[str, Any], **options: object
) -> dict[str, Any]:
    async with acting_as(db, company.owner):
        made: dict[str, Any] = await call(
            db,
            "public",
            "rotate_webhook_secret",
            p_tenant_id=company.tenant_id,
            p_endpoint_id=uuid.UUID(endpoint["id"]),
            **options,
        )
    return made


async def test_an_endpoint_is_made_as_it_was_asked_for(db: Connection, company: Company) -> None:
    made = await create(
        db,
        company,
        p_labels={"team": "logistics"},
        p_headers={"X-Tenant": "acme", "Authorization": "Bearer abc"},
        p_timeout_seconds=5,
        p_max_concurrency=3,
        p_rate_limit_per_second=20,
        p_ordered=True,
        p_expires_after_hours=24,
    )
    worker = LaneWorker(db, "first")
    await worker.lease()
    [lane] = await worker.describe(await value(db, "select id from queue.lanes"))
    asked = {"timeout_seconds": 5, "max_concurrency": 3, "rate_limit_per_second": 20, "ordered": True}
    assert asked.items() <= lane.items()
    assert asked.items() <= made.items()
    assert lane["headers"] == {"X-Tenant": "acme", "Authorization": "Bearer abc"}
    assert lane["expires_after_hours"] == 24
    assert made["labels"] == {"team": "logistics"}


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": "evt_1"},
        {"Webhook-Signature": "v1,x"},
        {"HOST": "example.com"},
        {"content-length": "3"},
        {"transfer-encoding": "chunked"},
        {"bad name": "x"},
        {"x": "two\r\nlines"},
        {"x": "naïve"},
        {"x": 5},
        {"x": "y" * 1001},
        {f"x-{n}": "y" for n in range(21)},
    ],
    ids=lambda headers: next(iter(headers))[:12] + f" {len(headers)}",
)
async def test_headers_that_are_ours_or_would_break_the_request_are_refused(
    db: Connection, company: Company, headers: dict[str, object]
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=r"webhook_endpoints_headers_(form|ours)"):
        await create(db, company, p_headers=headers)


async def test_headers_stay_out_of_the_log_and_a_change_of_them_reaches_the_worker(
    db: Connection, company: Company
) -> None:
    made = await create(db, company, p_headers={"authorization": "Bearer sesame"})
    await rpc(db, "dispatch_outbox")
    async with acting_as(db, company.owner):
        await db.execute(
            "update public.webhook_endpoints set headers = %s where id = %s",
            (Jsonb({"authorization": "Bearer changed"}), made["id"]),
        )
    assert (await rpc(db, "dispatch_outbox"))["endpoints"] == 1
    bodies = await value(db, "select string_agg(body, '') from public.events")
    assert "credentials_changed_at" in bodies
    assert "Bearer" not in bodies


async def test_a_rotation_signs_with_both_until_the_overlap_ends(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    version = (await worker.lease())["lanes"][0][1]
    await move_clock(db, dt.timedelta(seconds=1))
    made = await rotate(db, company, endpoint, p_overlap_hours=2)
    now = await value(db, "select private.now()")
    ends = now + dt.timedelta(hours=2)
    assert dt.datetime.fromisoformat(made["old_secrets_expire_at"]) == ends
    [(new, until), (old, old_until)] = await secrets(worker, endpoint)
    assert (new, until, old) == (made["secret"], None, endpoint["secret"])
    assert dt.datetime.fromisoformat(str(old_until)) == ends
    assert (await worker.lease())["lanes"][0][1] > version, "so that workers ask for the new one"
    await move_clock(db, dt.timedelta(hours=2))
    await worker.lease()
    assert [secret for secret, _ in await secrets(worker, endpoint)] == [new]
    assert (await rpc(db, "forget_webhook_secrets"))["forgotten"] == 0
    await move_clock(db, dt.timedelta(hours=1, seconds=1))
    assert (await rpc(db, "forget_webhook_secrets"))["forgotten"] == 1
    assert await value(db, "select count(*) from vault.secrets") == 1


async def test_a_rotation_at_once_ends_the_old_secret_at_once(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    made = await rotate(db, company, endpoint, p_overlap_hours=0)
    assert [secret for secret, _ in await secrets(worker, endpoint)] == [made["secret"]]


async def test_rotations_without_end_keep_five_secrets(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    made = [endpoint["secret"]]
    for _ in range(7):
        made.append((await rotate(db, company, endpoint, p_overlap_hours=720))["secret"])
        await move_clock(db, dt.timedelta(seconds=1))
    assert [secret for secret, _ in await secrets(worker, endpoint)] == made[:-6:-1]


async def test_a_later_rotation_never_lengthens_the_life_of_an_old_secret(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    await rotate(db, company, endpoint, p_overlap_hours=1)
    await rotate(db, company, endpoint, p_overlap_hours=100)
    ends = dict(await secrets(worker, endpoint))
    now = await value(db, "select private.now()")
    assert dt.datetime.fromisoformat(str(ends[endpoint["secret"]])) == now + dt.timedelta(hours=1)


@pytest.mark.parametrize("hours", [-1, 721])
async def test_an_overlap_out_of_range_is_refused(
    db: Connection, company: Company, endpoint: dict[str, Any], hours: int
) -> None:
    with pytest.raises(psycopg.Error, match=r"webhook\.overlap_range"):
        await rotate(db, company, endpoint, p_overlap_hours=hours)


async def test_an_ed25519_endpoint_shows_its_public_key_and_keeps_the_private_half(
    db: Connection, company: Company
) -> None:
    made = await create(db, company, p_signature="ed25519")
    assert "secret" not in made
    worker = LaneWorker(db, "first")
    await worker.lease()
    endpoint = {**made, "lane_id": await value(db, "select id from queue.lanes")}
    [(private, _)] = await secrets(worker, endpoint)
    seed = base64.b64decode(private.removeprefix("whsk_"))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert made["public_key"] == "whpk_" + base64.b64encode(public).decode()
    moved = await rotate(db, company, endpoint, p_signature="hmac")
    assert moved["secret"].startswith("whsec_")
    async with acting_as(db, company.owner):
        keys = await call(
            db, "public", "webhook_keys", p_tenant_id=company.tenant_id, p_endpoint_id=uuid.UUID(made["id"])
        )
    assert [(key["signature"], key["public_key"]) for key in keys] == [
        ("hmac", None),
        ("ed25519", made["public_key"]),
    ]
    assert moved["secret"] not in str(keys)


async def test_commands_find_no_endpoint_of_another_tenant(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    rival = await found_company(db, "rival")
    theirs = await add_endpoint(db, rival)
    with pytest.raises(psycopg.Error, match=r"webhook\.not_found"):
        await rotate(db, company, theirs)
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await rotate(db, Company(rival.tenant_id, company.owner), theirs)


async def test_a_status_carries_its_reason(
    db: Connection, company: Company, endpoint: dict[str, Any]
) -> None:
    change = "update public.webhook_endpoints set status = %s where id = %s"
    look = (
        "select status, disabled_reason, disabled_at is not null from public.webhook_endpoints where id = %s"
    )
    async with acting_as(db, company.owner):
        await db.execute(change, ("disabled", endpoint["id"]))
        assert await rows(db, look, endpoint["id"]) == [("disabled", "disabled by its people", True)]
        await db.execute(change, ("active", endpoint["id"]))
        assert await rows(db, look, endpoint["id"]) == [("active", None, False)]
