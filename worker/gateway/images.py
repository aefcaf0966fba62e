"""Pictures as the worker sees them: what is to be done, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.answers import parse

Ending = Literal["failed", "quarantined"]
_names = TypeAdapter(list[str])


class ImageTask(BaseModel):
    """A picture to be worked on: one of the two sources is set. `revision` is the source's."""

    model_config = ConfigDict(frozen=True)

    tenant_id: str
    revision: int
    source_url: str | None
    upload_path: str | None
    crashes: int = 0
    """How often decoding it ended the decoder's process, in a row."""


class Asset(BaseModel):
    """What the host is about to get. `busy`: a file of that name is being deleted, and no more is set."""

    model_config = ConfigDict(frozen=True)

    asset_id: str = ""
    public_id: str = ""
    stored: bool = False
    busy: bool = False


class ImagesSwept(BaseModel):
    """What a sweep ended: see `sweep_images`."""

    model_config = ConfigDict(frozen=True)

    versions: int
    products: int
    assets: int
    uploads: int
    stuck: int
    more: bool


class RpcImages:
    """All methods raise `GatewayError`. Those that take a revision answer false, or None, when the picture is
    gone, settled, or has another source by now."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def begin(self, image_id: str, revision: int) -> ImageTask | None:
        """What is to be done for a picture; None: nothing."""
        told = await self._rpc.call("begin_image", p_image_id=image_id, p_revision=revision)
        return None if told is None else parse(ImageTask, told)

    async def fetched(self, image_id: str, revision: int) -> bool:
        return bool(await self._rpc.call("image_fetched", p_image_id=image_id, p_revision=revision))

    async def troubled(self, image_id: str, revision: int, error: Mapping[str, Any]) -> bool:
        """It will be tried again; `error`: code and detail."""
        return bool(
            await self._rpc.call("image_troubled", p_image_id=image_id, p_revision=revision, p_error=error)
        )

    async def fail(self, image_id: str, revision: int, ending: Ending, error: Mapping[str, Any]) -> bool:
        return bool(
            await self._rpc.call(
                "fail_image", p_image_id=image_id, p_revision=revision, p_status=ending, p_error=error
            )
        )

    async def begin_asset(
        self, image_id: str, revision: int, *, host: str, picture: Mapping[str, Any]
    ) -> Asset | None:
        """Writes down that `host` is about to get it; `picture`: what it is, as columns of image_assets."""
        told = await self._rpc.call(
            "begin_asset", p_image_id=image_id, p_revision=revision, p_host=host, p_picture=picture
        )
        return None if told is None else parse(Asset, told)

    async def finish(
        self, image_id: str, revision: int, asset_id: str, urls: Mapping[str, str] | None
    ) -> bool:
        """The picture shows it; `urls` by rendition, None for one that was stored before."""
        return bool(
            await self._rpc.call(
                "finish_image", p_image_id=image_id, p_revision=revision, p_asset_id=asset_id, p_urls=urls
            )
        )

    async def sweep(self, *, keep: timedelta, limit: int) -> ImagesSwept:
        """Ends what is over `keep` (in whole days)."""
        return parse(ImagesSwept, await self._rpc.call("sweep_images", p_keep_days=keep.days, p_limit=limit))

    async def doomed(self, host: str, *, limit: int, lease: timedelta) -> Sequence[str]:
        """Files that are to be deleted before the lease ends."""
        told = await self._rpc.call(
            "claim_doomed_files", p_host=host, p_limit=limit, p_lease_seconds=int(lease.total_seconds())
        )
        try:
            return _names.validate_python(told)
        except ValidationError:
            raise BadAnswer("claim_doomed_files answered no list of names") from None

    async def gone(self, host: str, public_ids: Sequence[str]) -> None:
        await self._rpc.call("settle_doomed_files", p_host=host, p_public_ids=public_ids)

    async def judge(self, host: str, public_ids: Sequence[str]) -> int:
        """Of files that the host has: how many nobody here knows, and are doomed from now on."""
        return int(await self._rpc.call("judge_files", p_host=host, p_public_ids=public_ids))

    async def lost(self, host: str, public_ids: Sequence[str], *, at: datetime) -> int:
        """Files that were not at the host any more at that time: how many pictures are worked on anew."""
        return int(
            await self._rpc.call("lose_files", p_host=host, p_public_ids=public_ids, p_told_at=at.isoformat())
        )
