"""Cloudinary's webhooks: `POST /cloudinary/notifications`, believed only with its signature.

A notification can come twice, late, or never; whoever hears of one looks before acting.
Source: https://cloudinary.com/documentation/notifications, …/notification_signatures.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

from aiohttp import web
from pydantic import SecretStr

PATH: Final = "/cloudinary/notifications"
# as in Cloudinary's SDKs: it tries again after 3, 6 and 9 minutes
MAX_AGE: Final = timedelta(hours=2)
_AHEAD: Final = timedelta(minutes=5)
_LARGEST_BODY: Final = 1 << 20
_WITHIN: Final = 10.0
_HASHES: Final[Mapping[int, Callable[[bytes], Any]]] = {
    40: lambda data: hashlib.sha1(data, usedforsecurity=False),
    64: hashlib.sha256,
}


class NotBelieved(Exception):
    """Unsigned, wrongly signed, too old, or no JSON object."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Derivatives asked for ahead are there: how many are, and what went wrong with others."""

    public_id: str
    made: int
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class Deleted:
    """Objects are gone: by us, or by somebody in Cloudinary's console."""

    public_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Moderated:
    """An add-on or a person judged an object: `approved`, `rejected` or `pending`."""

    public_id: str
    status: str


Notification = Derived | Deleted | Moderated


def verified_notification(
    body: bytes, timestamp: str, signature: str, secret: SecretStr, now: datetime
) -> Mapping[str, Any]:
    """The notification's JSON, if Cloudinary sent it within the last two hours. Raises `NotBelieved`.

    `signature`: hexadecimal SHA-1 or SHA-256 (by its length) of body, timestamp and secret in a row, from
    `X-Cld-Signature`; `timestamp`: Unix seconds as text, from `X-Cld-Timestamp`.
    """
    if re.fullmatch(r"[0-9]{1,12}", timestamp, re.ASCII) is None:
        raise NotBelieved("the timestamp is no number of seconds")
    if (hashed := _HASHES.get(len(signature))) is None or not signature.isascii():
        raise NotBelieved("the signature is neither SHA-1 nor SHA-256")
    expected = hashed(body + timestamp.encode() + secret.get_secret_value().encode()).hexdigest()
    if not compare_digest(expected, signature.lower()):
        raise NotBelieved("the signature is not of this account")
    age = now.timestamp() - int(timestamp)
    if not -_AHEAD.total_seconds() <= age <= MAX_AGE.total_seconds():
        raise NotBelieved("it is too old, or from the future")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise NotBelieved("it is no JSON") from None
    if not isinstance(payload, dict):
        raise NotBelieved("it is no JSON object")
    return payload


def read_notification(payload: Mapping[str, Any]) -> Notification | None:
    """What it tells, if it is something that matters here and of a form that is known."""
    public_id = payload.get("public_id")
    match payload.get("notification_type"):
        case "eager" if isinstance(public_id, str):
            return _derived(public_id, payload.get("eager"))
        case "delete":
            resources = payload.get("resources")
            found = [each.get("public_id") for each in _objects(resources)]
            return Deleted([each for each in found if isinstance(each, str)])
        case "moderation" if isinstance(public_id, str):
            status = payload.get("moderation_status")
            return Moderated(public_id, status) if isinstance(status, str) else None
    return None


def notification_routes(
    secret: SecretStr, receive: Callable[[Notification, datetime], Awaitable[None]]
) -> list[web.RouteDef]:
    """The route; `receive` is also told when it was signed.

    200 when it returned (or had nothing to do), 401 when the notification is not believed; what it raises is
    answered with 500, and Cloudinary tries again.
    """

    async def hear(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_WITHIN):
                body = await _bounded(request)
        except TimeoutError:
            return web.Response(status=408)
        if body is None:
            return web.Response(status=413)
        try:
            timestamp = request.headers.get("X-Cld-Timestamp", "")
            payload = verified_notification(
                body,
                timestamp,
                request.headers.get("X-Cld-Signature", ""),
                secret,
                datetime.now(UTC),
            )
        except NotBelieved:
            # why is nobody's business but ours
            return web.Response(status=401)
        if (told := read_notification(payload)) is not None:
            await receive(told, datetime.fromtimestamp(int(timestamp), UTC))
        # not 204: anything but 200 counts as failed
        return web.Response(status=200)

    return [web.post(PATH, hear)]


def _derived(public_id: str, eager: object) -> Derived:
    entries = _objects(eager)
    failed = [each for each in entries if "secure_url" not in each and "url" not in each]
    reasons = [str(each.get("reason") or each.get("error") or "no reason given")[:300] for each in failed]
    return Derived(public_id, len(entries) - len(failed), reasons)


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


async def _bounded(request: web.Request) -> bytes | None:
    if (request.content_length or 0) > _LARGEST_BODY:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_BODY:
            return None
    return bytes(body)
