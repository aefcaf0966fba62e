"""Fetches a picture from a URL that a tenant chose: through the wall, and within bounds.

Each hop of a redirect is checked anew, and each connection goes to the very address that was checked,
whatever the name says by then. Nothing is unpacked on the way: a small answer stays small.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from worker.engine.clock import Clock
from worker.engine.retry import parse_retry_after
from worker.images.room import room
from worker.images.source import SourceAway, SourceRefused
from worker.wall import BlockedError, Target, Wall, WallError

_HEADERS: Final = {
    "accept": "image/avif,image/webp,image/*;q=0.9",
    "accept-encoding": "identity",
    "user-agent": "pms-worker",
}
_MOVED: Final = {301, 302, 303, 307, 308}
_LATER: Final = {408, 425, 429}
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """`total`: from the first hop to the last byte. `silence`: without a single byte."""

    bytes: int = 20 << 20
    hops: int = 5
    connect: timedelta = timedelta(seconds=10)
    silence: timedelta = timedelta(seconds=10)
    total: timedelta = timedelta(seconds=60)


class Fetcher:
    """Safe to share between tasks; use with `async with`. `proxy`: the URL of one that all goes through."""

    def __init__(
        self,
        wall: Wall,
        *,
        clock: Clock,
        tls: ssl.SSLContext,
        proxy: str | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        self._wall, self._clock, self._tls, self._proxy = wall, clock, tls, proxy
        self.limits = limits or FetchLimits()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ssl=self._tls, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self.limits.connect.total_seconds(),
                sock_read=self.limits.silence.total_seconds(),
            ),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, url: str, into: Path) -> int:
        """Writes what `url` answers to the file `into`; how many bytes that were. Raises `SourceRefused` and
        `SourceAway`."""
        try:
            async with asyncio.timeout(self.limits.total.total_seconds()):
                return await self._follow(url, into)
        except TimeoutError:
            seconds = self.limits.total.total_seconds()
            raise SourceAway(
                "image.source_slow", f"The picture did not arrive within {seconds:.0f} s."
            ) from None

    async def _follow(self, url: str, into: Path) -> int:
        for _ in range(self.limits.hops + 1):
            target = await self._checked(url)
            async with self._asked(target) as answer:
                if answer.status not in _MOVED:
                    _judge(answer, self._clock.now())
                    return await self._save(answer, into)
                location = answer.headers.get("location", "")
            if not location:
                raise SourceRefused("image.source_refused", "The server sent a redirect to nowhere.")
            url = _joined(target.url, location)
        raise SourceRefused(
            "image.too_many_redirects", f"The picture was not found after {self.limits.hops} redirects."
        )

    async def _checked(self, url: str) -> Target:
        try:
            return await self._wall.check(url)
        except BlockedError as error:
            raise SourceRefused("image.url_blocked", f"This URL is not fetched: {error}.") from None
        except WallError as error:
            raise SourceAway("image.source_unreachable", f"The server was not found: {error}.") from None

    @asynccontextmanager
    async def _asked(self, target: Target) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("a Fetcher is used with `async with`")
        host = f"[{target.host}]" if ":" in target.host else target.host
        address = f"[{target.address}]" if isinstance(target.address, IPv6Address) else str(target.address)
        usual = target.port == (443 if target.scheme == "https" else 80)
        path = target.url.split("/", 3)[3]
        try:
            async with self._session.get(
                URL(f"{target.scheme}://{address}:{target.port}/{path}", encoded=True),
                headers={**_HEADERS, "host": host if usual else f"{host}:{target.port}"},
                server_hostname=target.host if target.scheme == "https" else None,
                proxy=self._proxy,
                allow_redirects=False,
            ) as answer:
                yield answer
        except TimeoutError:
            raise SourceAway(
                "image.source_slow", "The server of the picture did not answer in time."
            ) from None
        except aiohttp.ClientConnectorCertificateError:
            raise SourceAway(
                "image.source_untrusted", "The server of the picture has no valid certificate."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            detail = f"The server of the picture broke off: {type(error).__name__}."
            raise SourceAway("image.source_unreachable", detail) from error

    async def _save(self, answer: aiohttp.ClientResponse, into: Path) -> int:
        most, length = self.limits.bytes, 0
        refused = SourceRefused("image.too_large", f"The file has more than {most >> 20} MiB.")
        if (answer.content_length or 0) > most:
            raise refused
        with room(), into.open("wb") as file:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                length += len(chunk)
                if length > most:
                    raise refused
                file.write(chunk)
        if not length:
            raise SourceAway("image.source_empty", "The server of the picture sent nothing.")
        return length


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise SourceRefused("image.source_refused", "The server sent a redirect that is no URL.") from None


def _judge(answer: aiohttp.ClientResponse, now: datetime) -> None:
    if answer.status == HTTPStatus.OK:
        encoding = answer.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise SourceRefused("image.source_packed", "The server packs the picture, unasked.")
        return
    said = f"The server of the picture answered {answer.status}."
    again = parse_retry_after(answer.headers.get("retry-after"), now=now)
    if answer.status in _LATER or answer.status >= 500:
        raise SourceAway("image.source_unavailable", said, again)
    raise SourceRefused("image.source_refused", said)
