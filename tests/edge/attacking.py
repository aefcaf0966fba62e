"""What the attacker's list is tried with: requests signed and then changed, and what answers show."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.edge.signing import ApiKey, Signer, signature_headers

TARGET = "/pms/v1/products?limit=1"
MUG = b'{"sku": "MUG", "name": "Mug", "price": "19.90", "currency": "USD"}'
STRANGER = ApiKey(str(uuid.UUID(int=7)), f"key_{uuid.UUID(int=7).hex}", "pms_sk_" + "x" * 43)
Signed = list[tuple[str, str]]


def signed(key: ApiKey, method: str = "GET", target: str = TARGET, body: bytes = b"", **more: Any) -> Signed:
    headers = list(signature_headers(key, method, target, body, **more).items())
    return [*headers, ("Content-Type", "application/json")] if body else headers


def seen(answer: httpx.Response) -> tuple[int, dict[str, Any], list[str]]:
    """All that a caller sees of a refusal, but its id: status, body, names of headers."""
    told = answer.json()
    assert told.pop("request_id") == answer.headers["X-Request-Id"]
    return answer.status_code, told, sorted(answer.headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return answer.status_code, str(answer.json()["code"])


async def refusal_of_a_stranger(api: Signer) -> tuple[int, dict[str, Any], list[str]]:
    """What everybody sees whose request is not theirs."""
    return seen(await api.send_raw("GET", TARGET, headers=signed(STRANGER)))
