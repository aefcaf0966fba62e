"""Cloudinary's webhooks: believed only with a signature, of an age, and within bounds."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cloudinary
import httpx
import pytest
from cloudinary.utils import verify_notification_signature
from pydantic import SecretStr

from tests.images.hosts.cloudinary_double import SECRET, CloudinaryDouble
from tests.images.hosts.pictures import public_id, renditions
from tests.images.hosts.worlds import serving
from worker.images.hosts.account import Account
from worker.images.hosts.cloudinary import cloudinary_host
from worker.images.hosts.notifications import (
    PATH,
    Deleted,
    Derived,
    Moderated,
    NotBelieved,
    Notification,
    notification_routes,
    read_notification,
    verified_notification,
)

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
AT = str(int(NOW.timestamp()))
KEY = SecretStr(SECRET)
NAME = public_id("a boot")
BODY = b'{"notification_type":"eager","public_id":"x","eager":[]}'


def signature(body: bytes, at: str = AT, secret: str = SECRET, algorithm: str = "sha1") -> str:
    return hashlib.new(algorithm, body + at.encode() + secret.encode()).hexdigest()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_signed_one_is_believed(algorithm: str) -> None:
    signed = signature(BODY, algorithm=algorithm)
    assert verified_notification(BODY, AT, signed, KEY, NOW)["public_id"] == "x"
    assert verified_notification(BODY, AT, signed.upper(), KEY, NOW)


def test_the_sdk_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudinary.config(), "api_secret", SECRET, raising=False)
    now = datetime.now(UTC)
    at = str(int(now.timestamp()))
    signed = signature(BODY, at)
    assert verify_notification_signature(BODY.decode(), int(at), signed)
    assert verified_notification(BODY, at, signed, KEY, now)


def test_the_documented_example_is_of_the_documented_form() -> None:
    # https://cloudinary.com/documentation/notification_signatures: 40 hexadecimal digits, Unix seconds
    with pytest.raises(NotBelieved, match="not of this account"):
        verified_notification(b"{}", "1368881627", "29a383e289bc569310a8ca9899019a3167b4909e", KEY, NOW)


_FORGED: dict[str, tuple[bytes, str, str, datetime]] = {
    "other secret": (BODY, AT, signature(BODY, secret="another"), NOW),
    "other body": (BODY + b" ", AT, signature(BODY), NOW),
    "other time": (BODY, str(int(AT) + 1), signature(BODY), NOW),
    "too old": (BODY, AT, signature(BODY), NOW + timedelta(hours=2, seconds=1)),
    "from the future": (BODY, AT, signature(BODY), NOW - timedelta(minutes=5, seconds=1)),
    "no signature": (BODY, AT, "", NOW),
    "half a signature": (BODY, AT, signature(BODY)[:20], NOW),
    "no digits": (BODY, AT, "é" * 40, NOW),
    "no time": (BODY, "", signature(BODY, ""), NOW),
    "a time of words": (BODY, "noon", signature(BODY, "noon"), NOW),
    "a time with a sign": (BODY, f"+{AT}", signature(BODY, f"+{AT}"), NOW),
    "a time beyond all": (BODY, "9" * 12, signature(BODY, "9" * 12), NOW),
    # body, time and secret are signed as one text: a digit must not move from one to another
    "a moved digit": (BODY + AT[:1].encode(), AT[1:], signature(BODY), NOW),
    "no JSON": (b"{", AT, signature(b"{"), NOW),
    "no object": (b"[]", AT, signature(b"[]"), NOW),
    "deep": (b"[" * 100_000, AT, signature(b"[" * 100_000), NOW),
}


@pytest.mark.parametrize("case", _FORGED)
def test_others_are_not(case: str) -> None:
    body, at, signed, now = _FORGED[case]
    with pytest.raises(NotBelieved) as told:
        verified_notification(body, at, signed, KEY, now)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (
            {"notification_type": "eager", "public_id": NAME, "eager": [{"secure_url": "u"}, {"url": "u"}]},
            Derived(NAME, 2, []),
        ),
        (
            {
                "notification_type": "eager",
                "public_id": NAME,
                "eager": [{"secure_url": "u"}, {"status": "failed", "reason": "too large"}, {}],
            },
            Derived(NAME, 1, ["too large", "no reason given"]),
        ),
        (
            {"notification_type": "delete", "resources": [{"public_id": NAME}, {"public_id": 7}, None, "x"]},
            Deleted([NAME]),
        ),
        (
            {"notification_type": "moderation", "public_id": NAME, "moderation_status": "rejected"},
            Moderated(NAME, "rejected"),
        ),
        ({"notification_type": "moderation", "public_id": NAME}, None),
        ({"notification_type": "eager", "public_id": None}, None),
        ({"notification_type": "delete", "resources": {"a": "map"}}, Deleted([])),
        ({"notification_type": "upload", "public_id": NAME}, None),
        ({"notification_type": ["eager"]}, None),
        ({}, None),
    ],
)
def test_what_it_tells(payload: dict[str, Any], told: Notification | None) -> None:
    assert read_notification(payload) == told


# -- over HTTP -----------------------------------------------------------------------------------------------


class Heard:
    """Who is told; `broken`: what comes of it."""

    def __init__(self) -> None:
        self.told: list[Notification] = []
        self.broken: Exception | None = None
        self.url = ""

    async def __call__(self, notification: Notification, at: datetime) -> None:
        if self.broken is not None:
            raise self.broken
        self.told.append(notification)


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    made = Heard()
    async with serving(lambda: notification_routes(KEY, made)) as origin:
        made.url = f"{origin}{PATH}"
        yield made


async def test_an_upload_is_told_to_the_end(double: CloudinaryDouble, heard: Heard, tmp_path: Path) -> None:
    account = Account.from_url(SecretStr(double.url))
    async with cloudinary_host(account, notification_url=heard.url) as host:
        await host.store(NAME, renditions(tmp_path, "a boot"))
        await host.store(NAME, renditions(tmp_path, "a boot"))
    assert await double.send_notifications() == [200, 200], "anything but 200 is sent again"
    assert heard.told == [Derived(NAME, 6, [])]


async def test_who_does_not_know_the_secret_is_not_heard(double: CloudinaryDouble, heard: Heard) -> None:
    payload = {"notification_type": "delete", "resources": [{"public_id": NAME}]}
    assert await double.notify(heard.url, payload, secret="another") == 401
    assert await double.notify(heard.url, payload, at=datetime.now(UTC) - timedelta(hours=3)) == 401
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(heard.url, json=payload)).status_code == 401
        assert (await http.get(heard.url)).status_code == 405
    assert heard.told == []
    assert await double.notify(heard.url, payload) == 200
    assert heard.told == [Deleted([NAME])]


async def test_one_that_cannot_be_worked_on_comes_again(
    double: CloudinaryDouble, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    heard.broken = RuntimeError("the database is away")
    assert await double.notify(heard.url, {"notification_type": "delete", "resources": []}) == 500


@pytest.mark.parametrize("told_ahead", [True, False])
async def test_a_body_without_end_is_cut(heard: Heard, told_ahead: bool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * (1 << 16)

    content: Any = b" " * (4 << 20) if told_ahead else endless()
    async with httpx.AsyncClient(trust_env=False) as http:
        with suppress(httpx.WriteError):  # cut before it was read to the end
            assert (await http.post(heard.url, content=content)).status_code == 413
    assert heard.told == []


async def test_a_body_larger_than_the_other_routes_take_is_heard(
    double: CloudinaryDouble, heard: Heard
) -> None:
    many = [{"public_id": public_id(str(n))} for n in range(500)]
    payload = {"notification_type": "delete", "resources": many}
    assert len(json.dumps(payload)) > 1024
    assert await double.notify(heard.url, payload) == 200
    (deleted,) = heard.told
    assert isinstance(deleted, Deleted)
    assert len(deleted.public_ids) == 500


async def test_a_body_that_never_ends_in_time_is_given_up(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.images.hosts.notifications._WITHIN", 0.1)
    host, port = heard.url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()
