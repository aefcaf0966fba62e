"""Originals that people uploaded to Supabase Storage: fetched to disk and removed with the service key.

A picture never lies in memory as a whole. httpx with its own transport: calls are few and large, and one
that is given up must let go of its connection (docs/decisions/0003-http-clients.md). Protocol:
https://github.com/supabase/storage, src/http/routes/object.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final
from urllib.parse import quote

import httpx
from msgspec import json

from worker.config import Settings
from worker.errors import BadAnswer, Refused, Unreachable
from worker.gateway import faults
from worker.gateway.transport import CONNECT_TIMEOUT

BUCKET: Final = "product-images"
WHOLE_TIMEOUT: Final = timedelta(seconds=120)
SILENCE_TIMEOUT: Final = timedelta(seconds=20)
MAX_TOLD_BYTES: Final = 64 * 1024
_BATCH: Final = 256 * 1024


class StorageUploads:
    """Objects of the bucket `product-images`, by their path in it. Safe to share between tasks."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: timedelta = WHOLE_TIMEOUT,
        silence: timedelta = SILENCE_TIMEOUT,
    ) -> None:
        """`timeout` bounds a whole call, `silence` each wait for more of an answer."""
        key = settings.supabase_secret_key.get_secret_value()
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(silence.total_seconds(), connect=CONNECT_TIMEOUT.total_seconds()),
            trust_env=False,
            # pictures do not shrink, and `limit` is to count what lies on disk
            headers={"apikey": key, "authorization": f"Bearer {key}", "accept-encoding": "identity"},
        )
        self._url = f"{settings.storage_url}/object/{BUCKET}"
        self._timeout = timeout

    async def __aenter__(self) -> StorageUploads:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def download(self, path: str, into: Path, *, limit: int) -> int:
        """Writes the object to the file `into` and answers its size in bytes.

        Raises `GatewayError`: `Refused` with the code `image.upload_missing` when there is no such object
        (any more), and `image.too_large` for more than `limit` bytes. Then there is no file. Faults of the
        disk are raised as they are.
        """
        url = f"{self._url}/{_quoted(path)}"
        async with (
            _in_time(self._timeout),
            contextlib.aclosing(self._chunks("GET", url, path=path, limit=limit)) as chunks,
        ):
            return await _save(chunks, into)

    async def remove(self, path: str) -> None:
        """Removes the object, if it is there. Raises `GatewayError`."""
        _quoted(path)
        names = json.encode({"prefixes": [path]})
        async with (
            _in_time(self._timeout),
            contextlib.aclosing(
                self._chunks("DELETE", self._url, path=path, limit=MAX_TOLD_BYTES, content=names)
            ) as chunks,
        ):
            async for _ in chunks:
                pass

    async def _chunks(
        self, method: str, url: str, *, path: str, limit: int, content: bytes | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body of an answer of 200. Raises `GatewayError`."""
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            async with self._http.stream(method, url, content=content, headers=headers) as response:
                if response.status_code != 200:
                    raise await _refusal(response, path)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise BadAnswer("Storage answered in an encoding that nobody asked for", status=200)
                promised = response.headers.get("content-length", "")
                _bound(int(promised) if promised.isdecimal() else 0, limit, path)
                received = 0
                async for chunk in response.aiter_raw():
                    received += len(chunk)
                    _bound(received, limit, path)
                    yield chunk
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise faults.from_transport(error) from error


@contextlib.asynccontextmanager
async def _in_time(within: timedelta) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(within.total_seconds()):
            yield
    except TimeoutError:
        raise Unreachable(f"Storage timed out: no whole answer within {within.total_seconds():g} s") from None


async def _save(chunks: AsyncIterator[bytes], into: Path) -> int:
    """Writes off the event loop, in pieces: a disk can take its time. Leaves a whole file or none."""
    size, batch = 0, bytearray()
    file = await asyncio.to_thread(into.open, "wb")
    try:
        async for chunk in chunks:
            size += len(chunk)
            batch += chunk
            if len(batch) >= _BATCH:
                await asyncio.to_thread(file.write, bytes(batch))
                batch.clear()
        await asyncio.to_thread(_finish, file, bytes(batch))
    except BaseException:
        await asyncio.to_thread(_discard, file, into)
        raise
    return size


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    file.close()


def _discard(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):
        file.close()  # waits for a write that a cancellation left behind in its thread
    path.unlink(missing_ok=True)


def _bound(received: int, limit: int, path: str) -> None:
    if received > limit:
        raise _refused("image.too_large", f"the upload {path} is larger than {limit:,} bytes")


async def _refusal(response: httpx.Response, path: str) -> Exception:
    """The error that an answer other than 200 stands for; of what it tells, the head counts."""
    told = bytearray()
    async for chunk in response.aiter_raw():
        told += chunk
        if len(told) >= MAX_TOLD_BYTES:
            break
    if response.status_code < 400:
        return BadAnswer(f"Storage answered {response.status_code}", status=response.status_code)
    error = faults.from_storage(response.status_code, bytes(told[:MAX_TOLD_BYTES]))
    if error.code == "NoSuchKey":
        return _refused("image.upload_missing", f"there is no upload {path}")
    return error


def _quoted(path: str) -> str:
    """`path` for a URL. What a URL would read as another path names no upload: with the service key, a/../b
    would fetch what is another tenant's."""
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        raise _refused("image.upload_missing", f"{path!r} is no path of an upload")
    return quote(path)


def _refused(code: str, detail: str) -> Refused:
    return Refused(code, code=code, detail=detail[:500])
