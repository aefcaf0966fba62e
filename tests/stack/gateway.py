"""The one address of the platform, as Kong is Supabase's: `python -m tests.stack.gateway SETTINGS.json`.

    /rest/v1        PostgREST                     an apikey is required
    /graphql/v1     its /rpc/graphql              an apikey is required; in the schema graphql_public
    /realtime/v1    the Realtime server           an apikey is required, as header or query parameter
    /auth/v1        sign-in (auth.py)             an apikey is required, but for /.well-known/
    /storage/v1     files (storage/)              open; a token decides, the caller's or a signed URL's
    /functions/v1   the edge functions in Deno    open; a function's verify_jwt decides

An `sb_…` key becomes a short-lived JWT of its role on the way in; the parts behind know JWTs only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web

from tests.stack import keys as jwts
from tests.stack.api_keys import ApiKeys, KeyProblem
from tests.stack.auth import Auth
from tests.stack.auth_store import AuthStore
from tests.stack.keys import Keys, load_keys
from tests.stack.proxy import Proxy
from tests.stack.storage.api import Storage
from tests.stack.tunnel import tunnel

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT",
    "Access-Control-Max-Age": "3600",
}


@dataclass(frozen=True)
class Settings:
    """Addresses are `http://host:port`; `verify_jwt` maps a function's name to its setting."""

    port: int
    api_url: str
    rest: str
    realtime: str
    functions: str
    auth_db: str
    storage_db: str
    storage_folder: str
    jwt_expiry: int
    verify_jwt: dict[str, bool]
    keys: Keys

    @classmethod
    def read(cls, path: Path) -> Settings:
        values: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**values, "keys": load_keys(values["keys"])})


class Gateway:
    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._api_keys = ApiKeys(settings.keys)
        self._auth = Auth(
            settings.keys, AuthStore(settings.auth_db), api_url=settings.api_url, seconds=settings.jwt_expiry
        )
        self._rest = Proxy(session, settings.rest, name="rest")
        self._storage = Storage(settings.keys, settings.storage_db, Path(settings.storage_folder))
        in_graphql = {"Content-Profile": "graphql_public"}
        self._graphql = Proxy(session, f"{settings.rest}/rpc/graphql", name="rest", headers=in_graphql)
        self._realtime = Proxy(session, settings.realtime, name="realtime")
        self._functions = Proxy(session, settings.functions, name="functions")

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        part, path = _split(request.path_qs)
        if request.method == "OPTIONS" and part != "functions":
            return _preflight(request)
        try:
            match part:
                case "rest":
                    authorization, query = self._api_keys.authorize(request)
                    return await self._rest.forward(request, path + query, authorization, CORS_ORIGIN)
                case "graphql":
                    authorization, query = self._api_keys.authorize(request)
                    path = path.removesuffix("/")
                    return await self._graphql.forward(request, path + query, authorization, CORS_ORIGIN)
                case "auth":
                    return await self._to_auth(request, path)
                case "storage":
                    return await self._to_storage(request, path)
                case "realtime":
                    return await self._to_realtime(request, path)
                case "functions":
                    return await self._to_function(request, path)
        except KeyProblem as problem:
            return _json(401, {"message": str(problem), "hint": problem.hint})
        return _json(404, {"message": "no Route matched with those values"})

    async def _to_auth(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if not path.startswith("/.well-known/"):
            authorization, _ = self._api_keys.authorize(request)
        else:
            authorization = ""
        response = await self._auth.handle(request, path, authorization)
        response.headers.update(CORS_ORIGIN)
        return response

    async def _to_storage(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """An apikey stands for a token where there is none; a signed URL comes with neither."""
        authorization = request.headers.get("Authorization", "")
        if "apikey" in request.headers:
            authorization, _ = self._api_keys.authorize(request)
        response = await self._storage.handle(request, path, authorization)
        if not response.prepared:  # files are on their way already, with these headers
            response.headers.update(CORS_ORIGIN)
        return response

    async def _to_realtime(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            query = self._api_keys.websocket_query(request)
            return await tunnel(request, self._settings.realtime, f"/socket{path}{query}")
        authorization, query = self._api_keys.authorize(request)
        return await self._realtime.forward(request, path + query, authorization, CORS_ORIGIN)

    async def _to_function(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """The function sees `/<name>/…`, as in the edge runtime."""
        name = path.removeprefix("/").partition("/")[0]
        _, mark, query = request.path_qs.partition(
            "?"
        )  # as sent: query_string is decoded, and callers sign it
        verify = self._settings.verify_jwt.get(name)
        if verify is None:
            return _json(404, {"code": "NOT_FOUND", "message": "Requested function was not found"})
        authorization = request.headers.get("Authorization", "")
        if verify and request.method != "OPTIONS":
            try:
                jwts.verify(self._settings.keys, authorization.removeprefix("Bearer "))
            except jwt.InvalidTokenError:
                return _json(401, {"code": 401, "message": "Invalid JWT"})
        return await self._functions.forward(request, path + mark + query, authorization, {})


CORS_ORIGIN = {"Access-Control-Allow-Origin": "*"}


def _split(path_qs: str) -> tuple[str, str]:
    """`/rest/v1/products?x=1` → (`rest`, `/products`), of the raw path: what was escaped stays so."""
    path = path_qs.partition("?")[0]
    part, version, rest = path.removeprefix("/").partition("/v1")
    if not version or (rest and not rest.startswith("/")):
        return "", path
    return part, rest or "/"


def _preflight(request: web.BaseRequest) -> web.Response:
    wanted = request.headers.get("Access-Control-Request-Headers", "*")
    return web.Response(status=200, headers=CORS | {"Access-Control-Allow-Headers": wanted})


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.json_response(body, status=status, headers=CORS_ORIGIN)


async def serve(settings: Settings) -> None:
    """Until SIGTERM. The session never follows redirects nor unpacks bodies: bytes pass as they are."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=120)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        server = web.Server(Gateway(settings, session), access_log=None, keepalive_timeout=75)
        runner = web.ServerRunner(server, shutdown_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.port).start()
        await stopped.wait()
        await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Settings.read(Path(sys.argv[1]))))
