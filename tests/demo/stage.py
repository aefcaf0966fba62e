"""What every act of the demo shares: the parts, the cast, and how an act says that something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.demo.receiver import Inbox, Receiver
from tests.images.picture_server import PictureServer
from tests.people import People
from tests.stack.platform import Platform

PAGE = 500


class DemoFailedError(Exception):
    """Something is not as it must be; the message is the `why` of the last line."""


@dataclass(frozen=True)
class Company:
    """A tenant, its signed-in owner, and the inboxes of its endpoints."""

    name: str
    tenant_id: str
    slug: str
    email: str
    password: str
    rest: httpx.AsyncClient
    """PostgREST as the owner: row-level security decides."""
    inboxes: tuple[Inbox, ...]


@dataclass
class Stage:
    platform: Platform
    receiver: Receiver
    people: People
    pictures: PictureServer
    """Where the catalogue's pictures are."""
    say: Callable[[str], None]
    """Tells the audience what the act is doing now."""
    companies: list[Company] = field(default_factory=list)
    edits_began: datetime | None = None
    """Since when changes are single edits: an import commits many at once, which tells nothing of latency."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What the last line of JSON reports beside what the receiver and the log know."""

    @property
    def fjellmat(self) -> Company:
        """The first company: its catalogue is imported, its owner works with supabase-js."""
        return self.companies[0]

    @property
    def birch(self) -> Company:
        """The second one: everything by plain HTTP."""
        return self.companies[1]

    @property
    def scratch(self) -> Path:
        """A directory that vanishes with the platform."""
        return self.platform.run


def expect(holds: object, why: str) -> None:
    """Raises `DemoFailedError(why)` unless `holds`."""
    if not holds:
        raise DemoFailedError(why)


def json_of(answer: httpx.Response, doing: str, *, status: int = 200) -> Any:
    """The body of an answer that must have `status`. Raises `DemoFailedError` with what came instead."""
    if answer.status_code != status:
        raise DemoFailedError(f"{doing}: {answer.status_code} instead of {status}: {answer.text[:300]}")
    return answer.json() if answer.content else None


async def read_all(rest: httpx.AsyncClient, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every row, page by page; `query` must order by something unique."""
    rows: list[dict[str, Any]] = []
    while True:
        page = {**query, "limit": str(PAGE), "offset": str(len(rows))}
        some = json_of(await rest.get(path, params=page), f"reading {path}")
        rows += some
        if len(some) < PAGE:
            return rows
