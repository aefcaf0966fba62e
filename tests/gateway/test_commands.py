"""The commands as a user runs them: run, drain, doctor, status."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.eventually import eventually
from tests.flow.worker_process import WorkerProcess
from tests.stack.addresses import Addresses
from tests.stack.platform import Platform

ROOT = Path(__file__).parents[2]
MakePlatform = Callable[..., Platform]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def pms_worker(*arguments: str, **settings: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",  # where no .env of a developer's is read
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **settings},
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def environment(addresses: Addresses, tmp_path: Path) -> dict[str, str]:
    images = {"WORKER_IMAGE_DIR": str(tmp_path), "WORKER_IMAGE_BASE_URL": "http://images.example"}
    return {**addresses.worker_settings(0), **images}


# -- doctor --------------------------------------------------------------------------------------------------


def verdicts(out: str) -> dict[str, str]:
    """What each line of doctor is about, and how it is."""
    found = re.findall(r"^(ok|warn|fail) +(settings|\w+(?: \w+)?) ", out, re.MULTILINE)
    return {what.strip(): verdict for verdict, what in found}


async def test_doctor_finds_a_healthy_platform_healthy(environment: dict[str, str]) -> None:
    ended = await pms_worker("doctor", **environment)
    assert ended.code == 0, ended.out + ended.err
    lines = verdicts(ended.out)
    for what in (
        "settings",
        "secret key",
        "port",
        "images",
        "API schemas",
        "schema",
        "partitions",
        "vacuum",
        "uploads",
        "Realtime",
    ):
        assert lines[what] == "ok", ended.out
    assert lines["clock"] == "ok"
    assert "webhooks" not in lines
    assert environment["SUPABASE_SECRET_KEY"] not in ended.out + ended.err


async def test_doctor_warns_where_only_the_database_allows_private_hosts(environment: dict[str, str]) -> None:
    ended = await pms_worker("doctor", **{**environment, "WORKER_ALLOW_PRIVATE_HOSTS": ""})
    assert ended.code == 0, ended.out + ended.err
    assert verdicts(ended.out)["webhooks"] == "warn", "the seed of local databases allows them"


async def test_doctor_says_what_is_wrong_and_what_to_do(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await pms_worker(
            "doctor",
            **{
                **environment,
                "SUPABASE_SECRET_KEY": "sb_secret_of_another_project",
                "SUPABASE_PUBLISHABLE_KEY": environment["SUPABASE_SECRET_KEY"],
                "WORKER_HTTP_PORT": str(port),
                "PMS_JWT_KEY": "",
            },
        )
    assert ended.code == 1
    lines = verdicts(ended.out)
    assert lines["database"] == lines["public key"] == lines["Realtime"] == "fail"
    assert lines["port"] == lines["JWT key"] == lines["uploads"] == "warn"
    assert "SUPABASE_SECRET_KEY" in ended.out
    assert "Traceback" not in ended.err


async def test_doctor_of_a_place_where_nobody_listens() -> None:
    ended = await pms_worker(
        "doctor", SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SECRET_KEY="sb_secret_x", WORKER_HTTP_PORT="0"
    )
    assert ended.code == 1
    assert "could not be reached" in ended.out


# -- status --------------------------------------------------------------------------------------------------


async def test_status_as_json_and_as_a_table(environment: dict[str, str]) -> None:
    as_json = await pms_worker("status", "--json", **environment)
    assert (as_json.code, as_json.err) == (0, "")
    shown = json.loads(as_json.out)
    assert shown["schema_version"] >= 1
    assert shown["health"]["partitions_ahead_days"] >= 1
    assert shown["health"]["adapter"]["inbound"]["queued"] >= 0
    if environment["REDIS_URL"]:
        assert shown["redis"]["fault"] is None
    as_table = await pms_worker("status", **environment)
    assert as_table.code == 0
    for row in (
        "outbox",
        "deliveries",
        "retries",
        "jobs",
        "lanes",
        "partitions",
        "endpoints",
        "dead rows",
        "inbound",
    ):
        assert row in as_table.out


async def test_status_without_a_database_fails_with_its_cause() -> None:
    ended = await pms_worker("status", SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SECRET_KEY="sb_secret_x")
    assert ended.code == 1
    assert ended.err.startswith("pms-worker: Supabase could not be reached")
    assert "Traceback" not in ended.err


# -- run -----------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_named_and_exits_2(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await pms_worker("run", **{**environment, "WORKER_HTTP_PORT": port})
    assert ended.code == 2
    assert f"WORKER_HTTP_PORT: port {port} on 127.0.0.1 is taken" in ended.err


@pytest.mark.own_platform
async def test_a_worker_lives_through_outages_and_stops_cleanly(make_platform: MakePlatform) -> None:
    platform = await asyncio.to_thread(make_platform, with_functions=False)
    async with WorkerProcess(platform, WORKER_POLL_SECONDS="0.2") as worker:
        await worker.start_live()
        assert (await worker.readiness())["ready"] is True
        await asyncio.to_thread(platform.postgres.stop, "immediate")

        async def not_ready() -> bool:
            return any("supabase" in reason for reason in (await worker.readiness())["reasons"])

        await eventually(not_ready, 20)
        await asyncio.to_thread(platform.postgres.start)

        async def ready() -> bool:
            return bool((await worker.readiness())["ready"])

        await eventually(ready, 30)
        await add_products(platform, 5)
        await eventually(lambda: events_are(platform, 5), 20)
        assert await worker.stop() == 0
        told = [line["event"] for line in worker.log()]
        # Postgres goes and comes in more than one step, but a line each call would be dozens
        assert 1 <= told.count("upstream.lost") <= 3
        assert "worker.died" not in told
        assert told[-1] == "worker.stopped"


async def test_a_worker_without_supabase_waits_visibly_and_still_stops(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        "run",
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SUPABASE_URL": "http://127.0.0.1:9",
            "SUPABASE_SECRET_KEY": "sb_secret_x",
            "WORKER_HTTP_PORT": "0",
            "WORKER_LOG_FORMAT": "json",
        },
    )
    assert process.stderr is not None
    told: list[dict[str, str]] = []
    async with asyncio.timeout(30):
        while not {"upstream.lost", "realtime.lost"} <= {line["event"] for line in told}:
            told.append(json.loads(await process.stderr.readline()))
        process.terminate()
        _, rest = await process.communicate()
    assert process.returncode == 0, rest.decode()
    lost = next(line for line in told if line["event"] == "upstream.lost")
    assert "could not be reached" in lost["error"]


# -- drain ---------------------------------------------------------------------------------------------------


@pytest.mark.own_platform
async def test_drain_works_until_everything_is_done(make_platform: MakePlatform) -> None:
    platform = await asyncio.to_thread(make_platform, with_functions=False, with_realtime=False)
    settings = platform.addresses.worker_settings(0)
    empty = await pms_worker("drain", **settings)
    assert empty.code == 0, empty.err
    await add_products(platform, 40)
    ended = await pms_worker("drain", **settings)
    assert ended.code == 0, ended.err
    assert await events_are(platform, 40)
    status = json.loads((await pms_worker("status", "--json", **settings)).out)
    assert status["outbox"]["depth"] == status["deliveries"]["pending"] == status["jobs"]["ready"] == 0
    assert status["workers"] == [], "its lanes are released"


async def add_products(platform: Platform, count: int) -> None:
    async with await psycopg.AsyncConnection.connect(platform.admin_db_url, autocommit=True) as db:
        await db.execute(
            """
            with tenant as (
              insert into public.tenants (slug, name) values ('drained', 'Drained') returning id
            )
            insert into public.products (tenant_id, sku, name)
            select t.id, 'S-' || n, 'Desk lamp' from tenant t, generate_series(1, %s) n
            """,
            (count,),
        )


async def events_are(platform: Platform, count: int) -> bool:
    async with await psycopg.AsyncConnection.connect(platform.admin_db_url, autocommit=True) as db:
        found = await db.execute("select count(*) from public.events where type = 'product.created'")
        return await found.fetchone() == (count,)


async def test_status_ends_quietly_when_nobody_reads_it(environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "status", "--json"),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
    )
    os.close(writer)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (1, b"")


async def test_a_wait_that_is_no_number_is_named() -> None:
    ended = await pms_worker("drain", "--wait", "soon")
    assert ended.code == 2
    assert "argument --wait: 'soon' is no number of seconds" in ended.err
