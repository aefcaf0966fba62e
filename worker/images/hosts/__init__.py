"""Where pictures live: `local` on this machine's disk, `cloudinary` in the cloud; one contract for both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from worker.errors import HostRefused
from worker.images.picture import Rendition

# <tenant's uuid>/<sha256 of the source bytes>: nothing else is ever stored, listed, served or deleted
PUBLIC_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/[0-9a-f]{64}", re.ASCII
)
MASTER: Final = "master"
BAD_PUBLIC_ID: Final = "image.bad_public_id"
BAD_RENDITION: Final = "image.bad_rendition"


@dataclass(frozen=True, slots=True)
class HostPage:
    """Some of what a host holds. `after`: what to ask the next page with; `None` on the last.

    A page can be empty and not the last: what is not ours is left out of it.
    """

    public_ids: Sequence[str]
    after: str | None


class ImageHost(Protocol):
    """A home of pictures. Every call may be repeated; each raises `HostError`s and nothing else."""

    @property
    def name(self) -> str:
        """`local` or `cloudinary`."""

    @property
    def derives(self) -> bool:
        """Whether it makes the derivatives itself, so that only the master is stored."""

    async def store(self, public_id: str, renditions: Sequence[Rendition]) -> Mapping[str, str]:
        """Stores what is not there yet; rendition name → URL, e.g. `{"master": …, "thumbnail": …}`.

        An object once stored is not changed: a second call, at once or later, answers with the URLs of
        the first. Where several formats of a name are given, the URL is that of the first.
        """

    async def delete(self, public_id: str) -> None:
        """Deletes, also from caches on the way; nothing happens if it is not there."""

    async def listing(self, after: str | None, limit: int) -> HostPage:
        """Up to `limit` public ids, each once over all pages. Begins with `after=None`."""


def check_public_id(public_id: str) -> str:
    """The id, if it is one. Raises `HostRefused`: no other text may become a path or a URL."""
    if PUBLIC_ID.fullmatch(public_id) is None:
        raise HostRefused(BAD_PUBLIC_ID, "a public id reads <tenant's uuid>/<sha256>, in lower case")
    return public_id


def master_of(renditions: Sequence[Rendition]) -> Rendition:
    """The one that every object has. Raises `HostRefused`."""
    for rendition in renditions:
        if rendition.name == MASTER:
            return rendition
    raise HostRefused(BAD_RENDITION, "there is no master")
