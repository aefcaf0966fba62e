"""The client: real PostgREST, and a server that misbehaves for what PostgREST does not do on command."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.gateway.conftest import settings_for
from tests.stack.addresses import Addresses
from tests.stack.keys import make_keys
from worker.config import Settings
from worker.errors import (
    BadAnswer,
    Busy,
    GatewayError,
    KeyRefused,
    Refused,
    SchemaMissing,
    TokenRefused,
    Unreachable,
)
from worker.gateway.answers import parse
from worker.gateway.client import SupabaseRpc
from worker.gateway.jobs import RpcJobQueue
from worker.gateway.mark import DeliveryMark
from worker.gateway.outbox import RpcOutbox
from worker.gateway.principals import PrincipalTokens
from worker.gateway.status import Status, read_status
from worker.gateway.upkeep import RpcHousekeeping

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


# -- the real one --------------------------------------------------------------------------------------------


async def test_the_status_has_the_promised_shape(rpc: SupabaseRpc) -> None:
    status = await read_status(rpc)
    assert status.schema_version >= 1
    assert status.partitions_ahead_days >= 1
    assert status.now.tzinfo is not None


async def test_dispatch_and_silence_and_upkeep_answer_in_their_shapes(rpc: SupabaseRpc) -> None:
    outbox, house = RpcOutbox(rpc, worker="gateway test", mark=DeliveryMark()), RpcHousekeeping(rpc)
    first = await outbox.dispatch("0")
    again = await outbox.dispatch(first.mark)
    assert int(again.mark) >= int(first.mark) >= 0
    await outbox.stay_awake(timedelta(seconds=0.5))
    await outbox.stay_awake(timedelta(0))
    assert isinstance(await house.make_partitions(days_ahead=7), list)
    assert await house.drop_partitions(keep_days=3650) == []
    assert await house.forget_command_results(keep=timedelta(days=30)) >= 0
    assert not await house.forget_api_requests()


async def test_a_function_that_is_not_there_asks_for_the_migrations(rpc: SupabaseRpc) -> None:
    with pytest.raises(SchemaMissing, match="apply the migrations"):
        await rpc.call("no_such_function", p_x=1)


async def test_a_refusal_carries_its_code(rpc: SupabaseRpc) -> None:
    with pytest.raises(Refused) as caught:
        await rpc.call("settle_jobs", p_results=[{"job_id": 1, "outcome": "vanish"}])
    assert (caught.value.code, caught.value.message) == ("PT400", "job.outcome_unknown")


@pytest.mark.parametrize("key", ["sb_secret_of_another_project", "publishable", "anon"])
async def test_a_wrong_key_is_named(addresses: Addresses, key: str) -> None:
    known = {"publishable": addresses.publishable_key, "anon": addresses.anon_key}
    settings = settings_for(addresses.api_url, "sb_secret_x")
    # past the settings' own check, which refuses these by their looks
    secret = type(settings.supabase_secret_key)(known.get(key, key))
    async with SupabaseRpc(settings.model_copy(update={"supabase_secret_key": secret})) as rpc:
        with pytest.raises(KeyRefused, match="SUPABASE_SECRET_KEY"):
            await rpc.call("worker_status")


async def test_a_call_can_be_somebody_s_and_a_token_of_another_project_is_named(
    addresses: Addresses, rpc: SupabaseRpc
) -> None:
    somebody = str(uuid.uuid4())
    ours = PrincipalTokens(SecretStr(addresses.signing_key))
    assert await rpc.call_as(ours.token(somebody), "my_permissions", p_tenant_id=str(uuid.uuid4())) == []
    other = PrincipalTokens(SecretStr(make_keys().signing_key))
    with pytest.raises(TokenRefused, match="PMS_JWT_KEY"):
        await rpc.call_as(other.token(somebody), "my_permissions", p_tenant_id=str(uuid.uuid4()))


async def test_both_forms_of_the_service_key_work(addresses: Addresses) -> None:
    for key in (addresses.secret_key, addresses.service_role_key):
        async with SupabaseRpc(settings_for(addresses.api_url, key)) as rpc:
            assert (await read_status(rpc)).schema_version


async def test_calls_run_side_by_side(rpc: SupabaseRpc) -> None:
    queue = RpcJobQueue(rpc, worker="gateway test")
    claims = await asyncio.gather(
        *(queue.claim(["test.nothing"], limit=1, lease=timedelta(seconds=30)) for _ in range(32))
    )
    assert all(claim.jobs == [] for claim in claims)


# -- one that misbehaves -------------------------------------------------------------------------------------


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Awaitable[Settings]]]:
    """`await serve(answer)`: settings of a Supabase whose every call is answered by `answer`."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> Settings:
        app = web.Application()
        app.router.add_post("/rest/v1/rpc/{name}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return settings_for(f"http://127.0.0.1:{runner.addresses[0][1]}", "sb_secret_x")

    yield start
    for runner in runners:
        await runner.cleanup()


Serve = Callable[[Answer], Awaitable[Settings]]


async def test_the_call_goes_out_as_promised(serve: Serve) -> None:
    seen: list[tuple[str, dict[str, str], object]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path_qs, dict(request.headers), await request.json()))
        return web.json_response({"until": "x"})

    async with SupabaseRpc(await serve(answer)) as rpc:
        assert await rpc.call("stay_awake", p_seconds=2) == {"until": "x"}
        await rpc.call("queue_health")
    (path, headers, sent), (bare_path, _, nothing) = seen
    lower = {name.lower(): value for name, value in headers.items()}
    assert (path, sent) == ("/rest/v1/rpc/stay_awake?columns=p_seconds", {"p_seconds": 2})
    assert (bare_path, nothing) == ("/rest/v1/rpc/queue_health", {})
    assert lower["apikey"] == "sb_secret_x"
    assert lower["authorization"] == "Bearer sb_secret_x"
    assert lower["content-profile"] == "worker"


async def test_an_answer_that_never_comes_is_given_up(serve: Serve) -> None:
    hold = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await hold.wait()
        return web.Response()

    async with SupabaseRpc(await serve(answer), timeout=timedelta(milliseconds=100)) as rpc:
        with pytest.raises(Unreachable, match="timed out"):
            await rpc.call("worker_status")
    hold.set()


async def test_an_answer_without_end_is_cut_off(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    async with SupabaseRpc(await serve(answer), max_answer_bytes=1_000_000) as rpc:
        with pytest.raises(BadAnswer, match="more than 1000000 bytes"):
            await rpc.call("read_lanes")


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/elsewhere")

    async with SupabaseRpc(await serve(answer)) as rpc:
        with pytest.raises(BadAnswer, match="redirect"):
            await rpc.call("worker_status")


async def test_an_answer_of_another_shape_is_no_status(serve: Serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<html>captive portal</html>", content_type="text/html")

    async with SupabaseRpc(await serve(answer)) as rpc:
        with pytest.raises(BadAnswer, match="cannot be read"):
            await read_status(rpc)


@pytest.mark.parametrize("body", [b"\xff\xfe\x80", b"[" * 200_000], ids=["no UTF-8", "too deep"])
async def test_an_answer_that_cannot_be_read_is_a_bad_answer(serve: Serve, body: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with SupabaseRpc(await serve(answer)) as rpc:
        with pytest.raises(BadAnswer, match="worker_status answered what cannot be read"):
            await rpc.call("worker_status")


async def test_a_compressed_answer_is_read(serve: Serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        response = web.json_response({"x": "y" * 5_000})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with SupabaseRpc(await serve(answer)) as rpc:
        assert (await rpc.call("worker_status"))["x"] == "y" * 5_000


async def test_nobody_there_is_unreachable_and_the_watcher_hears_of_it() -> None:
    heard: list[tuple[str, GatewayError | None]] = []

    def watch(name: str, seconds: float, error: GatewayError | None) -> None:
        assert seconds > 0
        heard.append((name, error))

    async with SupabaseRpc(settings_for("http://127.0.0.1:9", "sb_secret_x"), watch=watch) as rpc:
        with pytest.raises(Unreachable, match="could not be reached"):
            await rpc.call("worker_status")
    assert [(name, type(error)) for name, error in heard] == [("worker_status", Unreachable)]


async def test_the_watcher_hears_of_every_call(serve: Serve) -> None:
    answers = iter([(200, {"ok": 1}), (500, {"code": "40P01", "message": "deadlock detected"})])

    async def answer(_request: web.Request) -> web.Response:
        status, content = next(answers)
        return web.json_response(content, status=status)

    heard: list[tuple[str, GatewayError | None]] = []

    def watch(name: str, seconds: float, error: GatewayError | None) -> None:
        assert seconds > 0
        heard.append((name, error))

    async with SupabaseRpc(await serve(answer), watch=watch) as rpc:
        await rpc.call("worker_status")
        with pytest.raises(Busy):
            await rpc.call("worker_status")
    assert [type(error) for _, error in heard] == [type(None), Busy]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadAnswer, match="schema_version: Field required"):
        parse(Status, {"now": "2026-11-23T00:00:00Z"})
