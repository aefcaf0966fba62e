"""What doctor says of settings alone; the platform's part stands in test_commands.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import respx

from tests.gateway.healths import health
from tests.images.hosts.cloudinary_double import SECRET, Fault, cloudinary_double
from worker.config import Settings
from worker.doctor import Finding, findings, health_findings
from worker.errors import BadAnswer
from worker.gateway.status import SCHEMA_VERSION, read_status

JWK = {"kty": "EC", "crv": "P-256", "kid": "k-1", "x": "x", "y": "y", "d": "d"}


async def finding(what: str, **changed: Any) -> Finding:
    settings = Settings.model_validate(
        {"supabase_url": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_x", **changed}
    )
    async for each in findings(settings):
        if each.what == what:
            return each
    raise AssertionError(f"nothing was said of {what}")


@pytest.mark.parametrize(
    ("key", "verdict", "text"),
    [
        (json.dumps(JWK), "ok", "kid k-1"),
        ("a" * 32, "ok", "HS256"),
        ("garbage", "fail", "neither a JWK"),
        ("{garbage", "fail", "not JSON"),
        (json.dumps({**JWK, "kid": ""}), "fail", "lacks kid"),
        (json.dumps({**JWK, "d": ""}), "fail", "public key"),
    ],
)
async def test_the_jwt_key_is_told_by_its_looks(key: str, verdict: str, text: str) -> None:
    found = await finding("JWT key", pms_jwt_key=key)
    assert found.verdict == verdict
    assert text in found.text
    assert "garbage" not in found.text


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "é" * 70, "a..b"])
async def test_a_host_that_is_no_host_is_named(host: str) -> None:
    found = await finding("port", worker_http_host=host)
    assert found.verdict == "fail"
    assert "WORKER_HTTP_HOST" in found.text


@pytest.mark.parametrize(
    ("status", "told", "verdict", "text"),
    [
        (200, {"id": "product-images", "public": False}, "ok", "private"),
        (200, {"id": "product-images", "public": True}, "fail", "everybody can read"),
        (200, {"id": "product-images"}, "warn", "cannot be read"),
        (400, {"statusCode": "404", "error": "Bucket not found"}, "warn", "supabase db push"),
        (404, {"message": "no Route matched with those values"}, "warn", "enable Storage"),
        (503, {"message": "away"}, "warn", "by URL only: away"),
    ],
)
async def test_the_bucket_of_uploads_is_there_and_private(
    status: int, told: dict[str, Any], verdict: str, text: str
) -> None:
    with respx.mock(assert_all_mocked=False) as router:
        router.get("http://127.0.0.1:9/storage/v1/bucket/product-images").respond(status, json=told)
        found = await finding("uploads")
    assert (found.verdict, text in found.text) == (verdict, True), found


@pytest.mark.parametrize(
    ("changed", "verdict", "text"),
    [
        ({}, "ok", "served at http://127.0.0.1:9464/images"),
        ({"worker_image_base_url": "https://img.example/"}, "ok", "served at https://img.example"),
        ({"worker_http_port": 0}, "warn", "set WORKER_IMAGE_BASE_URL"),
        ({"worker_http_host": "0.0.0.0"}, "warn", "set WORKER_IMAGE_BASE_URL"),
        ({"worker_http_host": "0.0.0.0", "worker_image_base_url": "https://img.example"}, "ok", "served"),
        ({"worker_image_dir": Path(__file__) / "below a file"}, "fail", "WORKER_IMAGE_DIR"),
    ],
)
async def test_images_on_this_machine(
    tmp_path: Path, changed: dict[str, Any], verdict: str, text: str
) -> None:
    found = await finding("images", **{"worker_image_dir": tmp_path / "images", **changed})
    assert (found.verdict, text in found.text) == (verdict, True), found
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("fault", "verdict", "text"),
    [
        (None, "ok", "cloud double"),
        (Fault("status", 401, "unknown api_key"), "fail", "check CLOUDINARY_URL"),
        (Fault("status", 404, "no such cloud"), "fail", "no such cloud"),
        (Fault("status", 420, "Rate Limit Exceeded"), "warn", "Rate Limit Exceeded"),
        (Fault("status", 503), "fail", "uploads wait"),
        (Fault("garbage"), "fail", "no JSON"),
    ],
)
async def test_images_at_cloudinary(fault: Fault | None, verdict: str, text: str) -> None:
    async with cloudinary_double() as double:
        double.faults = [] if fault is None else [fault]
        found = await finding("images", image_host="cloudinary", cloudinary_url=double.url)
    assert (found.verdict, text in found.text) == (verdict, True), found
    assert SECRET not in found.text


async def test_images_at_a_cloudinary_that_is_away() -> None:
    url = "cloudinary://key:hunter2@cloud?upload_prefix=http://127.0.0.1:9"
    found = await finding("images", image_host="cloudinary", cloudinary_url=url)
    assert found.verdict == "fail"
    assert "hunter2" not in found.text


async def test_images_at_an_address_that_would_get_the_secret_in_the_open() -> None:
    url = "cloudinary://key:hunter2@cloud?upload_prefix=http://api.example.com"
    found = await finding("images", image_host="cloudinary", cloudinary_url=url)
    assert (found.verdict, "https://" in found.text, "hunter2" in found.text) == ("fail", True, False)


async def test_a_schema_too_new_to_be_read_says_what_to_do() -> None:
    class Newer:
        async def call(self, name: str, /, **_params: Any) -> Any:
            return {"schema_version": SCHEMA_VERSION + 1, "of": "another shape"}

    with pytest.raises(BadAnswer, match="upgrade the worker"):
        await read_status(Newer())


HOLDER = {"kind": "session", "name": "pid 7, postgres, etl, idle in transaction", "xids": 44, "seconds": 601}
SLOT = {"kind": "slot", "name": "replica", "xids": 2_000_000, "seconds": None}


@pytest.mark.parametrize(
    ("changed", "verdict", "what", "text"),
    [
        ({}, "ok", "partitions", "made 7 days ahead, the oldest is of 30 days ago"),
        ({"partitions_ahead_days": 2}, "warn", "partitions", "let a worker run"),
        ({"partitions_ahead_days": 0}, "fail", "partitions", "made 0 days ahead"),
        ({"partitions_ahead_days": -1}, "fail", "partitions", "today's is missing"),
        ({}, "ok", "vacuum", "0 dead rows"),
        ({"xmin": HOLDER | {"seconds": 5}}, "ok", "vacuum", "pid 7, postgres, etl"),
        ({"xmin": HOLDER}, "warn", "vacuum", "pg_terminate_backend"),
        ({"xmin": SLOT | {"xids": 5}}, "ok", "vacuum", "slot replica, 5 transactions"),
        ({"xmin": SLOT}, "warn", "vacuum", "drop the slot"),
        ({"dead": 100_000}, "ok", "vacuum", "100,000 dead rows"),
        ({"dead": 100_001}, "warn", "vacuum", "is behind in private.outbox"),
        ({"endpoints_failing": 2}, "warn", "endpoints", "2 failing"),
        (
            {"endpoints": {"active": 5, "paused": 0, "disabled": 3}},
            "ok",
            "endpoints",
            "5 active, 0 paused, 3 disabled",
        ),
        ({"invalid_events": 1}, "warn", "events", "private.invalid_events"),
    ],
)
def test_the_queues_health_is_judged(changed: dict[str, Any], verdict: str, what: str, text: str) -> None:
    [found] = [each for each in health_findings(health(**changed)) if each.what == what]
    assert (found.verdict, text in found.text) == (verdict, True), found
