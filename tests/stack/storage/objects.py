"""What Storage does with objects, each as its caller."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from aiohttp import web

from tests.stack.storage.files import CHUNK, StorageFiles
from tests.stack.storage.incoming import Incoming, check_mime, read_incoming
from tests.stack.storage.problems import (
    invalid_key,
    invalid_mime_type,
    no_such_bucket,
    no_such_file,
    no_such_key,
)
from tests.stack.storage.rows import SERVICE, Caller, Row, StorageRows, Upload

# src/storage/limits.ts: characters that S3 takes
KEY = re.compile(r"(\w|/|!|-|\.|\*|'|\(|\)| |&|\$|@|=|;|:|\+|,|\?)+", re.ASCII)
MAX_FILE = 50 * 1024 * 1024
"""Where the bucket has no limit of its own; the hosted default."""
UPLOAD_SECONDS = 120
LINGER_SECONDS = 10
"""How long replaced bytes stay for whoever has just looked at their row; the real server queues their end."""


class Objects:
    def __init__(self, rows: StorageRows, files: StorageFiles) -> None:
        self._rows = rows
        self._files = files

    async def bucket(self, bucket: str) -> Row:
        """As nobody in particular: that there is a bucket is no secret. Raises `StorageProblem`."""
        found = await self._rows.buckets(SERVICE, bucket)
        if not found:
            raise no_such_bucket()
        return found[0]

    async def upload(
        self,
        request: web.BaseRequest,
        caller: Caller,
        bucket: str,
        name: str,
        *,
        upsert: bool,
        owner: str | None,
    ) -> Row:
        """Row and bytes are there when it returns. Raises `StorageProblem`."""
        rules = await self.bucket(bucket)
        async with asyncio.timeout(UPLOAD_SECONDS):
            incoming = await read_incoming(request)
            allowed = rules["allowed_mime_types"]
            if allowed and not check_mime(incoming.mime, allowed):
                raise invalid_mime_type(incoming.mime)
            await self.check(caller, bucket, name, upsert=upsert, owner=owner)
            limit = MAX_FILE if rules["file_size_limit"] is None else min(rules["file_size_limit"], MAX_FILE)
            kept = await self._files.keep(incoming.chunks, limit=limit)
        metadata = _metadata(incoming, kept.size, kept.etag)
        upload = Upload(bucket, name, owner, kept.version, metadata, incoming.user_metadata)
        try:
            row, replaced = await self._rows.complete(upload)
        except BaseException:
            self._files.drop(kept.version)
            raise
        if replaced is not None:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._files.drop, replaced)
        return row

    async def check(self, caller: Caller, bucket: str, name: str, *, upsert: bool, owner: str | None) -> None:
        """Raises `StorageProblem` for who may not upload there."""
        if not KEY.fullmatch(name):
            raise invalid_key(name)
        await self._rows.check(caller, Upload(bucket, name, owner), upsert=upsert)

    async def find(self, caller: Caller, bucket: str, name: str) -> Row:
        """Raises `StorageProblem`: what the caller may not see is not there."""
        if not KEY.fullmatch(name):
            raise invalid_key(name)
        row = await self._rows.find(caller, bucket, name)
        if row is None:
            raise no_such_key()
        return row

    async def serve(
        self, request: web.BaseRequest, caller: Caller, bucket: str, name: str
    ) -> web.StreamResponse:
        """The bytes, or their headers alone. Raises `StorageProblem`."""
        row, file = await self._open(caller, bucket, name)
        with file:
            headers = object_headers(row)
            if request.headers.get("If-None-Match") == headers["ETag"]:
                return web.Response(status=304, headers=headers)
            if (download := request.rel_url.query.get("download")) is not None:
                headers["Content-Disposition"] = _disposition(download)
            response = web.StreamResponse(headers={**headers, "Access-Control-Allow-Origin": "*"})
            response.content_length = row["metadata"]["size"]
            await response.prepare(request)
            while request.method != "HEAD" and (chunk := file.read(CHUNK)):
                await response.write(chunk)
            await response.write_eof()
        return response

    async def _open(self, caller: Caller, bucket: str, name: str) -> tuple[Row, BinaryIO]:
        row = await self.find(caller, bucket, name)
        try:
            return row, self._files.path(row["version"]).open("rb")
        except FileNotFoundError:  # removed just now, or kept by another run with this database
            raise no_such_file() from None

    async def delete(self, caller: Caller, bucket: str, names: list[str]) -> list[Row]:
        """The rows of what is gone."""
        gone = await self._rows.delete(caller, bucket, names)
        for row in gone:
            self._files.drop(row["version"])
        return gone


def object_headers(row: Row) -> dict[str, str]:
    metadata = row["metadata"]
    # as the real server: nobody serves pages from here
    mime = "text/plain" if "text/html" in metadata["mimetype"] else metadata["mimetype"]
    return {
        "Content-Type": mime,
        "ETag": metadata["eTag"],
        "Cache-Control": metadata["cacheControl"],
        "Last-Modified": row["updated_at"].astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }


def show(row: Row) -> dict[str, Any]:
    """A row as JSON: times as JavaScript writes them, no column that only the database uses."""
    return {name: _json(value) for name, value in row.items() if name != "path_tokens"}


def show_info(row: Row) -> dict[str, Any]:
    metadata = row["metadata"] or {}
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "version": row["version"],
        "bucket_id": row["bucket_id"],
        "size": metadata.get("size"),
        "content_type": metadata.get("mimetype"),
        "cache_control": metadata.get("cacheControl"),
        "etag": metadata.get("eTag"),
        "metadata": row["user_metadata"],
        "last_modified": _json(row["updated_at"]),
        "created_at": _json(row["created_at"]),
    }


def _disposition(filename: str) -> str:
    name = quote(filename, safe="")
    return f"attachment; filename={name}; filename*=UTF-8''{name};" if name else "attachment;"


def _metadata(incoming: Incoming, size: int, etag: str) -> dict[str, Any]:
    return {
        "eTag": etag,
        "size": size,
        "mimetype": incoming.mime,
        "cacheControl": incoming.cache_control,
        "lastModified": _json(datetime.now(UTC)),
        "contentLength": size,
        "httpStatusCode": 200,
    }


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value if value is None or isinstance(value, int | str | dict | list) else str(value)
