"""The part of Auth that sign-in needs, with GoTrue's routes, shapes and error codes.

https://github.com/supabase/auth/blob/master/openapi.yaml
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import psycopg
from aiohttp import web

from tests.stack import keys as jwts
from tests.stack.auth_store import AuthStore, Refreshed, Row
from tests.stack.keys import Keys

MAX_BODY = 64 * 1024
MIN_PASSWORD = 6

Handler = Callable[[web.BaseRequest, str], Awaitable[web.Response]]


class AuthProblem(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Auth:
    def __init__(self, keys: Keys, store: AuthStore, *, api_url: str, seconds: int) -> None:
        self._keys = keys
        self._store = store
        self._issuer = f"{api_url}/auth/v1"
        self._seconds = seconds
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): self._health,
            ("GET", "/.well-known/jwks.json"): self._jwks,
            ("POST", "/signup"): self._sign_up,
            ("POST", "/token"): self._token,
            ("GET", "/user"): self._user,
            ("POST", "/logout"): self._log_out,
            ("POST", "/admin/users"): self._admin_create,
            ("GET", "/admin/users/:id"): self._admin_get,
            ("DELETE", "/admin/users/:id"): self._admin_delete,
        }

    async def handle(self, request: web.BaseRequest, path: str, authorization: str) -> web.Response:
        """`authorization` is the bearer header that the gateway settled on."""
        route = path.rstrip("/")
        if route.startswith("/admin/users/"):
            route = "/admin/users/:id"
        handler = self._routes.get((request.method, route))
        if handler is None:
            return web.json_response({"code": 404, "msg": "404 page not found"}, status=404)
        try:
            return await handler(request, authorization.removeprefix("Bearer "))
        except AuthProblem as problem:
            return _problem(problem)
        except psycopg.OperationalError as error:
            return _problem(AuthProblem(503, "unexpected_failure", f"database not available: {error}"))

    async def _health(self, request: web.BaseRequest, token: str) -> web.Response:
        return web.json_response(
            {"version": "stack", "name": "GoTrue", "description": "sign-in of the test platform"}
        )

    async def _jwks(self, request: web.BaseRequest, token: str) -> web.Response:
        return web.json_response(self._keys.public_jwks())

    async def _sign_up(self, request: web.BaseRequest, token: str) -> web.Response:
        body = await _body(request)
        user = await self._create(body, metadata=body.get("data"))
        return await self._new_session(user)

    async def _token(self, request: web.BaseRequest, token: str) -> web.Response:
        body = await _body(request)
        match request.rel_url.query.get("grant_type"):
            case "password":
                email, password = _text(body, "email").lower(), _text(body, "password")
                user = await self._store.find_by_password(email, password)
                if user is None:
                    raise AuthProblem(400, "invalid_credentials", "Invalid login credentials")
                return await self._new_session(user)
            case "refresh_token":
                return await self._refresh(_text(body, "refresh_token"))
            case _:
                raise AuthProblem(400, "invalid_request", "unsupported_grant_type")

    async def _refresh(self, refresh_token: str) -> web.Response:
        match await self._store.rotate(refresh_token):
            case Refreshed() as fresh:
                return self._session(fresh.user, fresh.session_id, fresh.refresh_token)
            case "reused":
                raise AuthProblem(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
            case "unknown":
                raise AuthProblem(
                    400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"
                )

    async def _user(self, request: web.BaseRequest, token: str) -> web.Response:
        claims = self._claims(token)
        user = await self._store.find(str(claims.get("sub", "")))
        if user is None:
            raise AuthProblem(403, "user_not_found", "User from sub claim in JWT does not exist")
        return web.json_response(show_user(user))

    async def _log_out(self, request: web.BaseRequest, token: str) -> web.Response:
        claims = self._claims(token)
        scope = request.rel_url.query.get("scope", "global")
        await self._store.end_sessions(str(claims.get("sub")), str(claims.get("session_id")), scope)
        return web.Response(status=204)

    async def _admin_create(self, request: web.BaseRequest, token: str) -> web.Response:
        self._require_service(token)
        body = await _body(request)
        user = await self._create(
            body, metadata=body.get("user_metadata"), app_metadata=body.get("app_metadata")
        )
        return web.json_response(show_user(user))

    async def _admin_get(self, request: web.BaseRequest, token: str) -> web.Response:
        self._require_service(token)
        user = await self._store.find(_last_segment(request))
        if user is None:
            raise AuthProblem(404, "user_not_found", "User not found")
        return web.json_response(show_user(user))

    async def _admin_delete(self, request: web.BaseRequest, token: str) -> web.Response:
        self._require_service(token)
        if not await self._store.delete(_last_segment(request)):
            raise AuthProblem(404, "user_not_found", "User not found")
        return web.json_response({})

    async def _create(self, body: dict[str, Any], *, metadata: object, app_metadata: object = None) -> Row:
        email, password = _text(body, "email").strip().lower(), _text(body, "password")
        if "@" not in email:
            raise AuthProblem(400, "validation_failed", "Unable to validate email address: invalid format")
        if len(password) < MIN_PASSWORD:
            raise AuthProblem(422, "weak_password", f"Password should be at least {MIN_PASSWORD} characters.")
        user = await self._store.create(email, password, metadata or {}, app_metadata or {})
        if user is None:
            raise AuthProblem(422, "user_already_exists", "User already registered")
        return user

    async def _new_session(self, user: Row) -> web.Response:
        session_id, refresh_token = await self._store.open_session(str(user["id"]))
        return self._session(user, session_id, refresh_token)

    def _session(self, user: Row, session_id: str, refresh_token: str) -> web.Response:
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "sub": str(user["id"]),
            "aud": "authenticated",
            "exp": now + self._seconds,
            "iat": now,
            "email": user["email"],
            "phone": "",
            "app_metadata": user["raw_app_meta_data"],
            "user_metadata": user["raw_user_meta_data"],
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": now}],
            "session_id": session_id,
            "is_anonymous": False,
            "jti": str(uuid.uuid4()),
        }
        body = {
            "access_token": jwts.sign(self._keys, claims),
            "token_type": "bearer",
            "expires_in": self._seconds,
            "expires_at": now + self._seconds,
            "refresh_token": refresh_token,
            "user": show_user(user),
        }
        return web.json_response(body)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims = jwts.verify(self._keys, token)
        except jwt.InvalidTokenError as error:
            message = f"invalid JWT: unable to parse or verify signature, {error}"
            raise AuthProblem(403, "bad_jwt", message) from error
        if "sub" not in claims:
            raise AuthProblem(403, "bad_jwt", "invalid claim: missing sub claim")
        return claims

    def _require_service(self, token: str) -> None:
        try:
            role = jwts.verify(self._keys, token).get("role")
        except jwt.InvalidTokenError as error:
            raise AuthProblem(403, "bad_jwt", f"invalid JWT: {error}") from error
        if role not in ("service_role", "supabase_admin"):
            raise AuthProblem(403, "not_admin", "User not allowed")


def show_user(user: Row) -> dict[str, Any]:
    """A user as the API shows one."""
    times = ("email_confirmed_at", "confirmed_at", "last_sign_in_at", "created_at", "updated_at")
    return {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"],
        "phone": user["phone"] or "",
        **{name: user[name].isoformat() for name in times if user[name] is not None},
        "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"],
        "identities": [],
        "is_anonymous": user["is_anonymous"],
    }


async def _body(request: web.BaseRequest) -> dict[str, Any]:
    raw = await request.content.read(MAX_BODY + 1) if request.can_read_body else b""
    while raw and len(raw) <= MAX_BODY and (more := await request.content.read(MAX_BODY)):
        raw += more
    if len(raw) > MAX_BODY:
        raise AuthProblem(413, "bad_json", "Request body is too large")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise AuthProblem(400, "bad_json", "Could not parse request body as JSON") from error
    if not isinstance(body, dict):
        raise AuthProblem(400, "bad_json", "Could not parse request body as JSON: an object is expected")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise AuthProblem(400, "validation_failed", f"{name} is required and must be a text")
    return value


def _last_segment(request: web.BaseRequest) -> str:
    return request.path.rstrip("/").rpartition("/")[2]


def _problem(problem: AuthProblem) -> web.Response:
    body = {"code": problem.status, "error_code": problem.code, "msg": str(problem)}
    return web.json_response(body, status=problem.status, headers={"x-sb-error-code": problem.code})
