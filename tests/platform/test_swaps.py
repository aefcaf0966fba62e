"""Any part can be somebody else's: named by environment, and not touched more than needed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import httpx
import psycopg
import pytest

from tests.stack.errors import StackError
from tests.stack.guard import Guard
from tests.stack.paths import temp_base
from tests.stack.platform import Platform
from tests.stack.ports import PortLeases
from tests.stack.postgres import SUPERUSER, Postgres, create_cluster
from tests.stack.postgrest import BINARY

pytestmark = pytest.mark.own_platform


@pytest.fixture
def bare_postgres() -> Iterator[Postgres]:
    """A cluster as initdb leaves it: no roles, no schemas of a platform."""
    run = Path(tempfile.mkdtemp(prefix="pms-stack-bare-", dir=temp_base()))
    run.chmod(0o711)
    guard, ports = Guard(), PortLeases()
    create_cluster(run / "data")
    server = Postgres(run / "data", port=ports.take(), log=run / "postgres.log", guard=guard)
    server.start()
    yield server
    server.stop()
    guard.close()
    ports.release()
    shutil.rmtree(run)


def test_a_database_of_ones_own_is_bootstrapped_migrated_and_left_running(
    bare_postgres: Postgres, make_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_DB_URL", bare_postgres.url(SUPERUSER))
    for _ in range(2):  # the second finds it done
        platform = make_platform(with_functions=False)
        assert platform.db_url == bare_postgres.url("postgres")
        answer = httpx.get(
            f"{platform.api_url}/rest/v1/tenants", headers={"apikey": platform.addresses.secret_key}
        )
        assert (answer.status_code, answer.json()) == (200, [])
        with pytest.raises(StackError, match="STACK_DB_URL"):
            platform.restart_postgres()
        platform.stop()
        with psycopg.connect(bare_postgres.url()) as connection:
            row = connection.execute("select count(*) from supabase_migrations.schema_migrations").fetchone()
        assert row == (len(platform.project.migrations),)


async def test_a_realtime_of_ones_own_is_behind_the_gateway(
    make_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_JWT_SECRET", "one secret for both, forty characters long")
    first = make_platform(with_functions=False)
    monkeypatch.setenv("STACK_REALTIME_URL", first.realtime_url)
    second = make_platform(with_functions=False)
    with pytest.raises(StackError, match="no realtime of its own"):
        second.realtime.stop()
    url = f"{second.api_url}/realtime/v1/websocket?apikey={second.addresses.publishable_key}&vsn=1.0.0"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "1"})
        assert (await socket.receive_json(timeout=5))["payload"]["status"] == "ok"
        first.realtime.stop()
        assert (await socket.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


def test_a_postgrest_of_ones_own_is_run_or_missed_by_name(
    make_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STACK_POSTGREST_BIN", str(tmp_path / "postgrest"))
    with pytest.raises(StackError, match=r"no PostgREST at .*STACK_POSTGREST_BIN"):
        make_platform(with_realtime=False, with_functions=False)
    os.symlink(BINARY, tmp_path / "postgrest")
    platform = make_platform(with_realtime=False, with_functions=False)
    assert Path(os.readlink(f"/proc/{platform.postgrest.pid}/exe")) == BINARY.resolve()
