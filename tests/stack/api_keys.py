"""What the gateway makes of an apikey."""

from __future__ import annotations

import hmac
import time
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from tests.stack.keys import Keys, Role, role_jwt

REQUEST_SECONDS = 300
"""How long the JWT lives that stands for an `sb_…` key during one request."""

SOCKET_SECONDS = 24 * 3600
"""The same for a websocket: a Realtime connection made with such a key lasts a day."""


class KeyProblem(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ApiKeys:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._minted: dict[Role, tuple[float, str]] = {}

    def authorize(self, request: web.BaseRequest) -> tuple[str, str]:
        """The Authorization header to send on, and the query (with its `?`) without the apikey.

        A caller's own token wins; without one (or with the key repeated in its place) the key speaks for
        itself. Raises `KeyProblem` if there is no key or an unknown one.
        """
        key, query = request.headers.get("apikey"), request.rel_url.raw_query_string
        if key is None and "apikey=" in query:
            pairs = parse_qsl(query, keep_blank_values=True)
            key = next((value for name, value in pairs if name == "apikey"), None)
            query = urlencode([(name, value) for name, value in pairs if name != "apikey"])
        token = self._token(key, REQUEST_SECONDS)
        authorization = request.headers.get("Authorization", "")
        if not authorization or authorization.startswith("Bearer sb_"):
            authorization = f"Bearer {token}"
        return authorization, f"?{query}" if query else ""

    def websocket_query(self, request: web.BaseRequest) -> str:
        """The query of a websocket's handshake, with a JWT, which the Realtime server knows, as apikey."""
        pairs = dict(request.rel_url.query)
        key = request.headers.get("apikey") or request.headers.get("x-api-key") or pairs.get("apikey")
        if key is not None and key.startswith("sb_"):
            pairs["apikey"] = self._token(key, SOCKET_SECONDS)
        elif (
            key is not None
        ):  # the Realtime server judges JWTs by itself, and says better what is wrong with one
            pairs["apikey"] = key
        return f"?{urlencode(pairs)}" if pairs else ""

    def _token(self, key: str | None, seconds: int) -> str:
        if not key:
            raise KeyProblem(
                "No API key found in request", "No `apikey` request header or url param was found."
            )
        match self._role(key):
            case None:
                raise KeyProblem(
                    "Invalid API key", "Double check your Supabase `anon` or `service_role` API key."
                )
            case _ if not key.startswith("sb_"):
                return key
            case role if seconds == REQUEST_SECONDS:
                return self._short(role)
            case role:
                return role_jwt(self._keys.jwt_secret, role, seconds)

    def _role(self, key: str) -> Role | None:
        known: dict[str, Role] = {
            self._keys.publishable_key: "anon",
            self._keys.anon_key: "anon",
            self._keys.secret_key: "service_role",
            self._keys.service_role_key: "service_role",
        }
        for candidate, role in known.items():
            if hmac.compare_digest(candidate.encode(), key.encode()):
                return role
        return None

    def _short(self, role: Role) -> str:
        """Minted at most once a minute: signing is not free, and this is the path of every request."""
        made, token = self._minted.get(role, (0.0, ""))
        if time.monotonic() - made > 60:
            token = role_jwt(self._keys.jwt_secret, role, REQUEST_SECONDS)
            self._minted[role] = (time.monotonic(), token)
        return token
