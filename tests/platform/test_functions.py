"""The edge function in real Deno, through the gateway; and its own tests, which Deno runs."""

from __future__ import annotations

import subprocess

import deno  # type: ignore[import-untyped]  # ships no types
import httpx
import pytest

from tests.stack.addresses import Addresses
from tests.stack.paths import ROOT
from tests.stack.redis import binary
from tests.stack.scripts import deno_environment


@pytest.mark.parametrize("path", ["/pms/health", "/pms/v1/health"])
async def test_health_through_the_gateway_needs_no_key(addresses: Addresses, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"{addresses.api_url}/functions/v1/api", timeout=20) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ok"
    assert answer.json()["checks"]["database"]["status"] == "ok"


async def test_what_is_not_there_is_a_problem_document(addresses: Addresses) -> None:
    async with httpx.AsyncClient(base_url=f"{addresses.api_url}/functions/v1", timeout=20) as client:
        missing = await client.get("/api/pms/nothing?x=1")
        no_function = await client.get("/nothing/pms/health")
    assert missing.status_code == 404
    assert missing.headers["Content-Type"] == "application/problem+json"
    assert missing.json()["code"] == "route.not_found"
    assert missing.json()["request_id"] == missing.headers["X-Request-Id"]
    assert no_function.status_code == 404


def test_the_functions_own_tests() -> None:
    """The cache's need a Redis, which they start themselves; without one they are skipped by name."""
    redis = binary()
    rights = [
        "--allow-net=127.0.0.1,localhost",
        "--allow-env",
        "--allow-read",
        f"--allow-run={redis or 'none'}",
    ]
    done = subprocess.run(
        [deno.find_deno_bin(), "test", "--quiet", "--cached-only", *rights, "."],
        cwd=ROOT / "functions",
        env=deno_environment() | ({"STACK_REDIS_BIN": redis} if redis else {}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed | 0 failed" in done.stdout
    if redis:
        assert "ignored" not in done.stdout, done.stdout
