"""/livez, /readyz with reasons, /metrics, and a port that is taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog

from tests.engine.clock import ManualClock
from worker.engine.clock import SystemClock
from worker.engine.condition import Condition
from worker.engine.health import HealthServer, Readiness, reasons_of
from worker.engine.metrics import Metrics
from worker.errors import KeyRefused, SettingsError, Unreachable


@pytest.fixture
def upstream(clock: ManualClock) -> Condition:
    return Condition("supabase", clock, lost="upstream.lost", back="upstream.back")


@pytest.fixture
async def server(upstream: Condition, metrics: Metrics) -> AsyncIterator[HealthServer]:
    made = HealthServer(
        host="127.0.0.1",
        port=0,
        metrics=metrics,
        readiness=lambda: Readiness(reasons_of([upstream]), {"realtime": {"state": "live"}}),
        clock=SystemClock(),
    )
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def http(server: HealthServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client


async def test_alive_says_nothing_about_the_database(http: httpx.AsyncClient) -> None:
    answer = await http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_ready_says_why_not(http: httpx.AsyncClient, upstream: Condition) -> None:
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["supabase: has not answered yet"]
    upstream.ok()
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "reasons": [], "realtime": {"state": "live"}}
    upstream.failed(KeyRefused("Invalid API key", status=401, hint="check the key"))
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["supabase: KeyRefused: Invalid API key (check the key)"]


async def test_a_scrape_says_whether_it_is_ready(http: httpx.AsyncClient, upstream: Condition) -> None:
    assert "pms_ready 0.0" in (await http.get("/metrics")).text
    upstream.ok()
    assert "pms_ready 1.0" in (await http.get("/metrics")).text


async def test_ready_tells_no_secret(http: httpx.AsyncClient, upstream: Condition) -> None:
    upstream.failed(Unreachable("wss://x/websocket?apikey=sb_secret_abcdefgh is not there"))
    answer = await http.get("/readyz")
    assert "sb_secret_abcdefgh" not in answer.text
    assert "is not there" in answer.text


async def test_metrics_show_the_stats_of_runners(http: httpx.AsyncClient, metrics: Metrics) -> None:
    stats: Mapping[str, float] = {"in_flight": 3, "sent_total": 12}
    metrics.watch("webhooks", lambda: stats)
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "pms_webhooks_in_flight 3.0" in answer.text
    assert "# TYPE pms_webhooks_sent_total counter" in answer.text


async def test_a_taken_port_is_named(server: HealthServer, metrics: Metrics) -> None:
    second = HealthServer(
        host="127.0.0.1",
        port=server.port,
        metrics=metrics,
        readiness=lambda: Readiness([], {}),
        clock=SystemClock(),
    )
    with pytest.raises(
        SettingsError, match=rf"WORKER_HTTP_PORT: port {server.port} on 127\.0\.0\.1 is taken"
    ):
        await second.open()


@asynccontextmanager
async def listening(host: str, metrics: Metrics) -> AsyncIterator[Mapping[str, Any]]:
    """What a server on `host` logs about where it listens."""
    made = HealthServer(
        host=host, port=0, metrics=metrics, readiness=lambda: Readiness([], {}), clock=SystemClock()
    )
    with structlog.testing.capture_logs() as logs:
        await made.open()
    try:
        yield next(line for line in logs if line["event"] == "health.listening")
    finally:
        await made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_every_url_that_is_told_answers(host: str, metrics: Metrics) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    async with listening(host, metrics) as told, httpx.AsyncClient(trust_env=False) as http:
        for url in (told["url"], *told.get("also", ())):
            assert (await http.get(f"{url}/livez")).status_code == 200


async def test_both_addresses_of_a_name_are_told(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(*_args: object, **_kwargs: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0))
            for address in ("127.0.0.1", "127.0.0.2")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    async with listening("localhost", metrics) as told:
        assert {urlsplit(url).hostname for url in (told["url"], *told["also"])} == {"127.0.0.1", "127.0.0.2"}


async def test_a_host_that_is_no_host_is_named(metrics: Metrics) -> None:
    with pytest.raises(SettingsError, match=r"WORKER_HTTP_HOST: .* is neither an address nor a name"):
        async with listening("a" * 64 + ".example", metrics):
            pass


def test_an_outage_is_one_line_however_often_it_fails(upstream: Condition) -> None:
    with structlog.testing.capture_logs() as logs:
        upstream.ok()
        for number in range(50):
            upstream.failed(Unreachable(f"could not be reached, attempt {number}"))
        upstream.failed(KeyRefused("Invalid API key"))
        upstream.ok()
        upstream.ok()
    assert [line["event"] for line in logs] == [
        "upstream.back",
        "upstream.lost",
        "upstream.lost",
        "upstream.back",
    ]


def test_what_is_told_elsewhere_is_not_told_twice(clock: ManualClock) -> None:
    part = Condition("jobs", clock, lost="part.failing", back="part.working", told_elsewhere=(Unreachable,))
    with structlog.testing.capture_logs() as logs:
        part.ok()
        part.failed(Unreachable("away"))
        part.ok()
        assert {line["log_level"] for line in logs} == {"debug"}
        part.failed(KeyRefused("no"))
    assert logs[-1]["log_level"] == "warning"
