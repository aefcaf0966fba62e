"""The routes of /storage/v1."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import jwt
from aiohttp import web

from tests.stack import keys as jwts
from tests.stack.keys import Keys
from tests.stack.storage import tokens
from tests.stack.storage.files import StorageFiles
from tests.stack.storage.objects import Objects, show, show_info
from tests.stack.storage.problems import StorageProblem, access_denied, invalid_request, no_such_bucket
from tests.stack.storage.rows import SERVICE, Caller, StorageRows

MAX_JSON = 1024 * 1024
MAX_NAMES = 1000
MAX_LIST = 1500
COLUMNS = ("name", "updated_at", "created_at", "last_accessed_at")

Handler = Callable[[web.BaseRequest, str, str, str], Awaitable[web.StreamResponse]]
"""Request, bearer token (or empty), bucket, object's name."""


class Storage:
    def __init__(self, keys: Keys, db_url: str, folder: Path) -> None:
        self._keys = keys
        self._rows = StorageRows(db_url)
        self._objects = Objects(self._rows, StorageFiles(folder))
        # what follows /object; the longest that fits counts, the rest is the bucket and the object's name
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "upload/sign"): self._sign_upload,
            ("PUT", "upload/sign"): self._upload_signed,
            ("POST", "sign"): self._sign,
            ("GET", "sign"): self._get_signed,
            ("POST", "list"): self._list,
            ("GET", "info/authenticated"): self._info,
            ("GET", "info"): self._info,
            ("GET", "public"): self._get_public,
            ("GET", "authenticated"): self._get,
            ("HEAD", "authenticated"): self._get,
            ("POST", ""): self._upload,
            ("PUT", ""): self._upload,
            ("GET", ""): self._get_or_public,
            ("HEAD", ""): self._get,
            ("DELETE", ""): self._delete,
        }

    async def handle(self, request: web.BaseRequest, path: str, authorization: str) -> web.StreamResponse:
        """`path` is the raw one after /storage/v1; `authorization` the header that the gateway settled on."""
        token = authorization.removeprefix("Bearer ").strip()
        try:
            kind, _, rest = path.removeprefix("/").partition("/")
            if kind == "object":
                return await self._to_object(request, token, rest)
            if kind == "bucket" and request.method == "GET":
                return await self._show_buckets(token, _decoded(rest))
            if kind == "status":
                return web.Response(status=200)
            raise LookupError
        except StorageProblem as problem:
            return problem.response()
        except LookupError:
            message = f"Route {request.method}:{path} not found"
            body = {"message": message, "error": "Not Found", "statusCode": 404}
            return web.json_response(body, status=404)

    async def _to_object(self, request: web.BaseRequest, token: str, rest: str) -> web.StreamResponse:
        parts = rest.split("/")
        for length in (2, 1, 0):
            handler = self._routes.get((request.method, "/".join(parts[:length])))
            if handler is not None and len(parts) > length:
                bucket, name = _decoded(parts[length]), _decoded("/".join(parts[length + 1 :]))
                return await handler(request, token, bucket, name)
        raise LookupError

    def _caller(self, token: str) -> Caller:
        if not token:
            raise invalid_request("headers must have required property 'authorization'")
        try:
            claims = jwts.verify(self._keys, token)
        except jwt.ExpiredSignatureError:
            raise access_denied('"exp" claim timestamp check failed') from None
        except jwt.InvalidTokenError as error:
            raise access_denied(str(error)) from None
        return Caller(str(claims.get("role") or "anon"), claims)

    # -- up ------------------------------------------------------------------------------------------------

    async def _upload(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        caller = self._caller(token)
        upsert = request.method == "PUT" or request.headers.get("x-upsert") == "true"
        row = await self._objects.upload(request, caller, bucket, name, upsert=upsert, owner=caller.owner)
        return web.json_response({"Id": str(row["id"]), "Key": f"{bucket}/{name}"})

    async def _sign_upload(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        caller, upsert = self._caller(token), request.headers.get("x-upsert") == "true"
        await self._objects.check(caller, bucket, name, upsert=upsert, owner=caller.owner)
        url, claims = f"{bucket}/{name}", {"owner": caller.owner, "upsert": upsert}
        signed = tokens.sign(self._keys.jwt_secret, url, tokens.UPLOAD_SECONDS, **claims)
        return web.json_response({"url": f"/object/upload/sign/{url}?token={signed}", "token": signed})

    async def _upload_signed(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        claims = self._signature(request, bucket, name)
        upsert, owner = bool(claims.get("upsert")), claims.get("owner")
        await self._objects.upload(request, SERVICE, bucket, name, upsert=upsert, owner=owner)
        return web.json_response({"Key": f"{bucket}/{name}"})

    # -- down ----------------------------------------------------------------------------------------------

    async def _get(self, request: web.BaseRequest, token: str, bucket: str, name: str) -> web.StreamResponse:
        caller = self._caller(token)
        await self._objects.bucket(bucket)
        return await self._objects.serve(request, caller, bucket, name)

    async def _get_or_public(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        """This route knows no bad token: who has one has none."""
        try:
            self._caller(token)
        except StorageProblem:
            return await self._get_public(request, "", bucket, name)
        return await self._get(request, token, bucket, name)

    async def _get_public(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        if not (await self._objects.bucket(bucket))["public"]:
            raise no_such_bucket()
        return await self._objects.serve(request, SERVICE, bucket, name)

    async def _get_signed(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        self._signature(request, bucket, name)
        return await self._objects.serve(request, SERVICE, bucket, name)

    async def _sign(self, request: web.BaseRequest, token: str, bucket: str, name: str) -> web.StreamResponse:
        """One object, or with `paths` in the body many of a bucket."""
        caller, body = self._caller(token), await _body(request)
        seconds = _number(body, "expiresIn", 1, 10**9, None)
        if name:
            await self._objects.find(caller, bucket, name)
            return web.json_response({"signedURL": self._signed_url(bucket, name, seconds)})
        names = _names(body, "paths")
        seen = await self._rows.names(caller, bucket, names)
        missing = "Either the object does not exist or you do not have access to it"
        return web.json_response(
            [
                {"error": None, "path": each, "signedURL": self._signed_url(bucket, each, seconds)}
                if each in seen
                else {"error": missing, "path": each, "signedURL": None}
                for each in names
            ]
        )

    async def _info(self, request: web.BaseRequest, token: str, bucket: str, name: str) -> web.StreamResponse:
        caller = self._caller(token)
        await self._objects.bucket(bucket)
        return web.json_response(show_info(await self._objects.find(caller, bucket, name)))

    async def _list(self, request: web.BaseRequest, token: str, bucket: str, name: str) -> web.StreamResponse:
        caller, body = self._caller(token), await _body(request)
        prefix, search = body.get("prefix"), body.get("search") or ""
        sort = body.get("sortBy") or {}
        column, order = sort.get("column", "name"), sort.get("order", "asc")
        if not isinstance(prefix, str) or not isinstance(search, str):
            raise invalid_request("body must have required property 'prefix'")
        if column not in COLUMNS or order not in ("asc", "desc"):
            raise invalid_request("body/sortBy must be equal to one of the allowed values")
        rows = await self._rows.list(
            caller,
            bucket,
            prefix=f"{prefix}/" if prefix and not prefix.endswith("/") else prefix,
            search=search,
            limit=_number(body, "limit", 1, MAX_LIST, 100),
            offset=_number(body, "offset", 0, 10**9, 0),
            column=column,
            order=order,
        )
        return web.json_response([show(row) for row in rows])

    # -- away ----------------------------------------------------------------------------------------------

    async def _delete(
        self, request: web.BaseRequest, token: str, bucket: str, name: str
    ) -> web.StreamResponse:
        """One object, or with `prefixes` in the body many: names, whatever the field is called."""
        caller = self._caller(token)
        if name:
            await self._objects.find(SERVICE, bucket, name)
            if not await self._objects.delete(caller, bucket, [name]):
                raise StorageProblem(404, "NoSuchKey", "Object not found", error="not_found")
            return web.json_response({"message": "Successfully deleted"})
        gone = await self._objects.delete(caller, bucket, _names(await _body(request), "prefixes"))
        return web.json_response([show(row) for row in gone])

    async def _show_buckets(self, token: str, bucket: str) -> web.StreamResponse:
        found = [show(row) for row in await self._rows.buckets(self._caller(token), bucket or None)]
        if bucket and not found:
            raise no_such_bucket()
        return web.json_response(found[0] if bucket else found)

    def _signed_url(self, bucket: str, name: str, seconds: int) -> str:
        signed = tokens.sign(self._keys.jwt_secret, f"{bucket}/{name}", seconds)
        return f"/object/sign/{bucket}/{name}?token={signed}"

    def _signature(self, request: web.BaseRequest, bucket: str, name: str) -> dict[str, Any]:
        signed = request.rel_url.query.get("token")
        if not signed:
            raise invalid_request("querystring must have required property 'token'")
        return tokens.read(self._keys.jwt_secret, signed, f"{bucket}/{name}")


def _decoded(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise invalid_request(f"'{raw}' is not a valid url component") from None


async def _body(request: web.BaseRequest) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > MAX_JSON:
            raise StorageProblem(413, "EntityTooLarge", "Request body is too large", http=413)
    try:
        body = json.loads(bytes(raw))
    except ValueError:
        raise invalid_request("Body is not valid JSON") from None
    if not isinstance(body, dict):
        raise invalid_request("body must be object")
    return body


def _names(body: dict[str, Any], key: str) -> list[str]:
    names = body.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid_request(f"body/{key} must be array")
    if not 1 <= len(names) <= MAX_NAMES:
        raise invalid_request(f"body/{key} must have 1 to {MAX_NAMES} items")
    return names


def _number(body: dict[str, Any], key: str, least: int, most: int, default: int | None) -> int:
    """Texts of digits pass, as with the real server, whose schema coerces them: storage3 sends one."""
    value = body.get(key, default)
    try:
        number = int(value)  # type: ignore[arg-type]  # what is no number is refused below
    except (TypeError, ValueError):
        raise invalid_request(f"body/{key} must be integer") from None
    if number < least:
        raise invalid_request(f"body/{key} must be >= {least}")
    return min(number, most)
