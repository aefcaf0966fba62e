"""Reads an upload: the raw body, or the one file of a form, as storage-js and storage3 send it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web

from tests.stack.storage.files import CHUNK
from tests.stack.storage.problems import no_content, too_large

MAX_METADATA = 1024 * 1024
MAX_FIELDS = 10


@dataclass(frozen=True)
class Incoming:
    mime: str
    cache_control: str
    user_metadata: dict[str, Any] | None
    chunks: AsyncIterator[bytes]
    """Not read yet: who may not upload is told before the bytes are taken."""


async def read_incoming(request: web.BaseRequest) -> Incoming:
    """Raises `StorageProblem` for a form without a file."""
    if request.content_type != "multipart/form-data":
        return _raw(request)
    try:
        return await _form(await request.multipart())
    except ValueError as error:  # no boundary, or not where it was promised
        raise no_content() from error


def check_mime(mime: str, allowed: list[str]) -> bool:
    """Whether one of `allowed`, such as `image/png` or `image/*`, takes `mime`."""
    kind, slash, name = mime.partition("/")
    return bool(slash) and any(
        kind == a_kind and a_name in ("*", name) for a_kind, _, a_name in (a.partition("/") for a in allowed)
    )


def _raw(request: web.BaseRequest) -> Incoming:
    metadata = None
    with contextlib.suppress(ValueError):
        metadata = _object(base64.b64decode(request.headers.get("x-metadata", "")))
    return Incoming(
        mime=request.headers.get("Content-Type", "application/octet-stream"),
        cache_control=request.headers.get("Cache-Control", "no-cache"),
        user_metadata=metadata,
        chunks=request.content.iter_any(),
    )


async def _form(reader: MultipartReader) -> Incoming:
    """The fields before the file count; what comes after it is never read."""
    fields: dict[str, bytes] = {}
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            break
        if part.filename is not None:
            return _file(part, fields)
        if len(fields) >= MAX_FIELDS:
            break
        fields[part.name or ""] = await _field(part)
    raise no_content()


def _file(part: BodyPartReader, fields: dict[str, bytes]) -> Incoming:
    seconds = fields.get("cacheControl", b"").decode(errors="replace")
    mime = fields.get("contentType", b"").decode(errors="replace") or part.headers.get("Content-Type")
    return Incoming(
        mime=mime or "application/octet-stream",
        cache_control=f"max-age={seconds}" if seconds else "no-cache",
        user_metadata=_object(fields.get("metadata") or fields.get("userMetadata") or b""),
        chunks=_chunks(part),
    )


async def _field(part: BodyPartReader) -> bytes:
    value = bytearray()
    async for chunk in _chunks(part):
        value += chunk
        if len(value) > MAX_METADATA:
            raise too_large("user_metadata")
    return bytes(value)


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK):
        yield chunk


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
