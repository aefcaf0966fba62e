"""Signs requests to the edge function as its documentation says, from nothing but that documentation."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.people import People, Tenant, authorities

PREFIX = "/functions/v1/api"
TIMEOUT = httpx.Timeout(30.0)


@dataclass(frozen=True)
class ApiKey:
    """As `create_api_key` shows it: `key_…` and `pms_sk_…`."""

    id: str
    name: str
    secret: str = field(repr=False)


async def make_key(people: People, tenant: Tenant, role: str = "integration", **options: Any) -> ApiKey:
    """A key that the tenant's owner makes; `options` are `p_scopes`, `p_allowed_ips` and the like."""
    body = {"p_tenant_id": str(tenant.id), "p_name": "test", "p_role": role, **options}
    answer = await people.rest(tenant.owner).post("/rpc/create_api_key", json=body)
    if answer.is_error:
        raise AssertionError(f"create_api_key: {answer.status_code} {answer.text}")
    made = answer.json()
    return ApiKey(id=made["api_key_id"], name=made["key"], secret=made["secret"])


def signature_headers(
    key: ApiKey,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    at: float | None = None,
    nonce: str | None = None,
) -> dict[str, str]:
    """The four headers; `target` is path?query from /pms/ on, as it will be sent."""
    timestamp = str(int(time.time() if at is None else at))
    nonce = nonce or secrets.token_urlsafe(24)
    text = f"v1:{timestamp}:{nonce}:{method}:{target}:{hashlib.sha256(body).hexdigest()}"
    made = hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return {
        "X-API-Key": key.name,
        "X-Request-Timestamp": timestamp,
        "X-Request-Nonce": nonce,
        "X-Request-Signature": f"v1={made}",
    }


class Signer:
    """Sends signed requests as `key`; targets begin at /pms/ and go out exactly as they are given.

    `prefix` is what stands before them at `api_url`: `/api` at an instance's own address, past the gateway.
    """

    def __init__(self, api_url: str, key: ApiKey, *, prefix: str = PREFIX) -> None:
        self.key = key
        self._http = httpx.AsyncClient(base_url=api_url + prefix, timeout=TIMEOUT, verify=authorities())

    async def __aenter__(self) -> Signer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**signature_headers(self.key, method, target, content), **(headers or {})}
        if content:
            sent.setdefault("Content-Type", "application/json")
        return await self.send_raw(method, target, content, list(sent.items()))

    async def send_raw(
        self,
        method: str,
        target: str,
        content: bytes | AsyncIterator[bytes] = b"",
        headers: Sequence[tuple[str, str]] = (),
    ) -> httpx.Response:
        """Signs nothing: the headers are what is sent. A body that comes piece by piece has no length."""
        url = httpx.URL(str(self._http.base_url).rstrip("/"))
        raw = url.raw_path + target.encode()
        return await self._http.request(
            method, url.copy_with(raw_path=raw), content=content, headers=list(headers)
        )

    async def get(self, target: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("GET", target, headers=named)
