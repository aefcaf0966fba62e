"""Cloudinary as the host: signed uploads of the master alone; it derives and delivers the rest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker.errors import HostFailing, HostUnconfigured
from worker.images.hosts import PUBLIC_ID, HostPage, check_public_id, master_of, sdk
from worker.images.hosts.account import Account
from worker.images.hosts.transport import Limits, Transport, transport
from worker.images.picture import Rendition

# the Admin API's own bound
_LARGEST_PAGE: Final = 500
_GONE: Final = frozenset({"ok", "not found"})


@dataclass(frozen=True, slots=True)
class CloudinaryHost:
    """`prefix` goes before each public id, so that projects can share an account: "" or e.g. "shop/".

    `notification_url`: where Cloudinary tells of derivatives and deletions, if anywhere.
    """

    account: Account
    transport: Transport
    prefix: str = ""
    notification_url: str | None = None

    @property
    def name(self) -> str:
        return "cloudinary"

    @property
    def derives(self) -> bool:
        return True

    async def store(self, public_id: str, renditions: Sequence[Rendition]) -> Mapping[str, str]:
        name = self.prefix + check_public_id(public_id)
        master = master_of(renditions)
        url, fields = sdk.upload_request(self.account, name, notification_url=self.notification_url)
        answer = await self.transport.post(url, fields, master.path)
        version = self._believed(answer, name)
        if not answer.get("existing") and not await asyncio.to_thread(_is_of, answer, master.path):
            # what is not our picture does not stay: a second upload would find it and be content
            await self.delete(public_id)
            raise HostFailing(
                "Cloudinary stored other bytes than it was sent; has the account an incoming transformation?"
            )
        return sdk.delivery_urls(self.account, name, version)

    async def delete(self, public_id: str) -> None:
        url, fields = sdk.destroy_request(self.account, self.prefix + check_public_id(public_id))
        answer = await self.transport.post(url, fields)
        if answer.get("result") not in _GONE:
            raise HostFailing(f"Cloudinary deletes with the result {str(answer.get('result'))[:80]!r}")

    async def listing(self, after: str | None, limit: int) -> HostPage:
        params = {"max_results": str(min(max(1, limit), _LARGEST_PAGE))}
        if self.prefix:
            params["prefix"] = self.prefix
        if after is not None:
            params["next_cursor"] = after
        answer = await self.transport.get(sdk.admin_url(self.account, "resources/image/upload"), params)
        resources, cursor = answer.get("resources"), answer.get("next_cursor")
        if not isinstance(resources, list) or not isinstance(cursor, str | None):
            raise HostFailing("Cloudinary lists in a form that is not known")
        return HostPage([found for each in resources if (found := self._ours(each))], cursor or None)

    async def ping(self) -> None:
        """Asks whether key, secret and cloud name fit together. Raises `HostError`s."""
        answer = await self.transport.get(sdk.admin_url(self.account, "ping"), {})
        if answer.get("status") != "ok":
            raise HostFailing("Cloudinary's ping does not answer ok")

    def _believed(self, answer: Mapping[str, Any], name: str) -> int:
        """The version of what was stored. Nobody but Cloudinary can say that it was."""
        version = answer.get("version")
        if not sdk.is_signed(self.account, answer):
            raise HostFailing("Cloudinary's answer is not signed with this account's secret")
        if answer.get("public_id") != name:
            raise HostUnconfigured("Cloudinary gave another public id; does an upload preset change it?")
        if not isinstance(version, int):
            raise HostFailing("Cloudinary's answer has no version")
        return version

    def _ours(self, resource: object) -> str | None:
        name = resource.get("public_id") if isinstance(resource, dict) else None
        if not isinstance(name, str) or not name.startswith(self.prefix):
            return None
        public_id = name.removeprefix(self.prefix)
        # an account may hold other people's pictures: the sweep never hears of them
        return public_id if PUBLIC_ID.fullmatch(public_id) else None


@asynccontextmanager
async def cloudinary_host(
    account: Account,
    *,
    prefix: str = "",
    notification_url: str | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[CloudinaryHost]:
    """The host, with connections of its own."""
    async with transport(account, limits or Limits()) as opened:
        yield CloudinaryHost(account, opened, prefix, notification_url)


def _is_of(answer: Mapping[str, Any], file: Path) -> bool:
    """Whether an answer's size and etag (MD5 of the bytes) are those of the file."""
    with file.open("rb") as opened:
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return answer.get("bytes") == file.stat().st_size and answer.get("etag") == md5
