"""How Cloudinary is asked: bounded in time and size, without a thread, nothing repeated or followed.

The SDK's own transport (urllib3, in a thread) is not used. It has a time-out for each read but none for
the whole, reads answers of any size, follows redirects, sleeps in its thread for
as long as a `Retry-After` says, cannot be cancelled, and loses status and headers on its way to an exception.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import certifi

from worker.errors import HostFailing, HostUnreachable
from worker.images.hosts.account import Account
from worker.images.hosts.verdict import error_of

_AT_A_TIME: Final = 8
_LARGEST_ANSWER: Final = 4 << 20
_CONNECT: Final = timedelta(seconds=10)
_AGENT: Final = "pms-worker (+cloudinary SDK)"


@dataclass(frozen=True, slots=True)
class Limits:
    """`upload`, `call`: seconds for a whole call, from the connection to the last byte of the answer."""

    upload: timedelta = timedelta(seconds=120)
    call: timedelta = timedelta(seconds=20)


class Transport:
    """Calls to one account, eight at a time. Each raises `HostError`s and nothing else."""

    def __init__(self, session: aiohttp.ClientSession, account: Account, limits: Limits) -> None:
        self._session, self._account, self._limits = session, account, limits
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def post(self, url: str, fields: Mapping[str, str], file: Path | None = None) -> Mapping[str, Any]:
        """Posts a signed form, with a file read from disk as it is sent."""
        within = self._limits.call if file is None else self._limits.upload
        async with self._slots:
            form = aiohttp.FormData(dict(fields), default_to_multipart=True)
            if file is None:
                return await self._asked("POST", url, within, data=form)
            opened = await asyncio.to_thread(file.open, "rb")
            try:
                form.add_field("file", opened, filename=file.name, content_type="application/octet-stream")
                return await self._asked("POST", url, within, data=form)
            finally:
                opened.close()

    async def get(self, url: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """Asks the Admin API."""
        secret = self._account.api_secret.get_secret_value()
        basic = aiohttp.encode_basic_auth(self._account.api_key, secret)
        async with self._slots:
            return await self._asked(
                "GET", url, self._limits.call, params=params, headers={"Authorization": basic}
            )

    async def _asked(self, method: str, url: str, within: timedelta, **request: Any) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._answer(method, url, **request)
        except TimeoutError:
            seconds = within.total_seconds()
            raise HostUnreachable(f"Cloudinary has not answered within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp's texts name addresses, never headers or forms
            raise HostUnreachable(f"Cloudinary: {type(error).__name__}: {error}") from None

    async def _answer(self, method: str, url: str, **request: Any) -> Mapping[str, Any]:
        async with self._session.request(
            method, url, allow_redirects=False, proxy=self._account.api_proxy, **request
        ) as response:
            body = await _bounded(response)
        answer = _read(body)
        error = error_of(response.status, response.headers, answer, now=datetime.now(UTC))
        if error is not None:
            raise error
        if answer is None:
            raise HostFailing("Cloudinary answers with something that is no JSON object", status=200)
        return answer


@asynccontextmanager
async def transport(account: Account, limits: Limits) -> AsyncIterator[Transport]:
    """A transport with connections of its own, closed at the end."""
    connector = aiohttp.TCPConnector(limit=_AT_A_TIME, ssl=_tls())
    async with aiohttp.ClientSession(
        connector=connector,
        # the whole is bounded around each call; nothing of the environment is trusted with a signature
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT.total_seconds()),
        trust_env=False,
        # a small answer cannot unpack into a large one
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": _AGENT},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Transport(session, account, limits)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            response.close()
            raise HostFailing(f"Cloudinary's answer is larger than {_LARGEST_ANSWER >> 20} MB")
    return bytes(body)


def _read(body: bytes) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _tls() -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    bare = paths.cafile is None and not (paths.capath and os.listdir(paths.capath))
    return ssl.create_default_context(cafile=certifi.where() if bare else None)
