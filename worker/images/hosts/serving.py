"""Serves what `local` holds: immutable files under names that never change their meaning."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

from worker.images.hosts import PUBLIC_ID
from worker.images.hosts.local import FILE_NAME

PATH: Final = "/images"
_YEAR: Final = 31_536_000
_TYPES: Final = {".webp": "image/webp", ".avif": "image/avif", ".jpeg": "image/jpeg", ".png": "image/png"}
_EVERY_ANSWER: Final = {
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_FOUND: Final = {**_EVERY_ANSWER, "Cache-Control": f"public, max-age={_YEAR}, immutable"}
# a picture that is not there can come
_NEVER: Final = "no-store"


def image_routes(directory: Path) -> list[web.RouteDef]:
    """`GET` and `HEAD /images/<tenant>/<sha256>/<rendition>.<format>`, with ranges and `If-None-Match`;
    for `.webp` a browser that takes AVIF gets that, if it was made.

    Whatever is not named exactly so is answered with 404, without a look at the disk.
    """

    async def serve(request: web.Request) -> web.StreamResponse:
        public_id = f"{request.match_info['tenant']}/{request.match_info['sha256']}"
        file = request.match_info["file"]
        if PUBLIC_ID.fullmatch(public_id) is None or FILE_NAME.fullmatch(file) is None:
            return web.Response(status=404, headers={**_EVERY_ANSWER, "Cache-Control": _NEVER})
        path = directory / public_id / file
        headers = dict(_FOUND)
        if path.suffix == ".webp":
            headers["Vary"] = "Accept"
            path = await _smallest(path, request.headers.get("Accept", ""))
        return _Image(path, headers={**headers, "Content-Type": _TYPES[path.suffix]})

    # web.get serves HEAD too
    return [web.get(f"{PATH}/{{tenant}}/{{sha256}}/{{file}}", serve)]


async def _smallest(path: Path, accept: str) -> Path:
    """The same picture as AVIF, for a browser that takes it and where it was made."""
    avif = path.with_suffix(".avif")
    return avif if "image/avif" in accept and await asyncio.to_thread(avif.is_file) else path


class _Image(web.FileResponse):
    """A file, whose absence is not kept for a year."""

    def set_status(self, status: int, reason: str | None = None) -> None:
        super().set_status(status, reason)
        if status >= 400:
            self.headers["Cache-Control"] = _NEVER
