"""Parts that die: what the others say meanwhile, and that everything comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.eventually import eventually
from tests.stack.errors import MigrationError, ProjectError
from tests.stack.paths import SUPABASE
from tests.stack.platform import Platform
from tests.stack.project import read_project

pytestmark = pytest.mark.own_platform


@pytest.fixture
def own(make_platform: Callable[..., Platform]) -> Platform:
    return make_platform(durable=True)


async def test_a_crash_of_postgres_loses_no_commit_and_the_platform_recovers(own: Platform) -> None:
    headers = {"apikey": own.addresses.secret_key}
    async with httpx.AsyncClient(base_url=own.api_url, headers=headers, timeout=20) as client:
        with psycopg.connect(own.db_url, autocommit=True) as connection:
            connection.execute("create table public.kept (id int primary key)")
            for number in range(50):
                connection.execute("insert into public.kept values (%s)", (number,))
        own.restart_postgres("immediate")
        with psycopg.connect(own.db_url) as connection:
            assert connection.execute("select count(*) from public.kept").fetchone() == (50,)
            assert connection.execute("show fsync").fetchone() == ("on",)

        async def served() -> bool:
            answer = await client.get("/rest/v1/kept", params={"select": "id"})
            return answer.status_code == 200 and len(answer.json()) == 50

        await eventually(served, 20)
        body = {"email": "a@example.com", "password": "long enough"}
        assert (await client.post("/auth/v1/signup", json=body)).status_code == 200


async def test_without_postgres_the_parts_say_so(own: Platform) -> None:
    headers = {"apikey": own.addresses.secret_key}
    async with httpx.AsyncClient(base_url=own.api_url, headers=headers, timeout=20) as client:
        own.postgres.kill()
        signing_in = await client.post(
            "/auth/v1/signup", json={"email": "a@example.com", "password": "long enough"}
        )
        assert (signing_in.status_code, signing_in.json()["error_code"]) == (503, "unexpected_failure")
        health = await client.get("/functions/v1/api/pms/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        own.postgres.start()

        async def healthy() -> bool:
            return (await client.get("/functions/v1/api/pms/health")).status_code == 200

        await eventually(healthy, 30)


async def test_a_part_that_is_away_is_a_503_that_names_it(own: Platform) -> None:
    headers = {"apikey": own.addresses.publishable_key}
    async with httpx.AsyncClient(base_url=own.api_url, headers=headers, timeout=20) as client:
        for part, path in (("postgrest", "/rest/v1/tenants"), ("functions", "/functions/v1/api/pms/health")):
            getattr(own, part).kill()
            answer = await client.get(path)
            name = "rest" if part == "postgrest" else part
            assert (answer.status_code, answer.json()["message"].split()[:2]) == (503, ["upstream", name])
            getattr(own, part).start()
            assert (await client.get(path)).status_code < 500
        own.realtime.stop()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        away = await client.get("/realtime/v1/websocket", headers=upgrade)
        assert (away.status_code, away.json()["message"]) == (503, "upstream realtime is not available")
        own.realtime.start()
        assert own.realtime.running


def test_without_vault_there_is_no_vault(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(vault=False, with_realtime=False, with_functions=False)
    with psycopg.connect(platform.db_url) as connection:
        assert connection.execute("select to_regnamespace('vault')").fetchone() == (None,)


def test_a_broken_migration_is_named_with_its_line(
    make_platform: Callable[..., Platform], tmp_path: Path
) -> None:
    shutil.copy(SUPABASE / "config.toml", tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text().partition("[functions.api]")[0])
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "1_fine.sql").write_text("create table public.a (id int);\n")
    broken = tmp_path / "migrations" / "2_broken.sql"
    broken.write_text("create table public.b (id int);\n\nselect nonsense from public.a;\n")
    with pytest.raises(MigrationError) as failed:
        make_platform(project=read_project(tmp_path), with_realtime=False)
    assert str(failed.value).startswith(f'{broken}:3: column "nonsense" does not exist')
    broken.write_text("create table public.b (id int);\n")
    platform = make_platform(project=read_project(tmp_path), with_realtime=False)
    with psycopg.connect(platform.db_url) as connection:
        rows = connection.execute(
            "select version, name from supabase_migrations.schema_migrations order by 1"
        ).fetchall()
    assert rows == [("1", "fine"), ("2", "broken")]


def test_a_wrong_project_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"config\.toml"):
        read_project(tmp_path)
    (tmp_path / "config.toml").write_text('[functions.gone]\nentrypoint = "../nowhere.ts"\n')
    with pytest.raises(ProjectError, match=r"functions\.gone.*nowhere\.ts"):
        read_project(tmp_path)
