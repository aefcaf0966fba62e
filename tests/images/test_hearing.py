"""What is made of what Cloudinary tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from tests.engine.clock import START
from worker.images.hearing import LOST, NOT_DERIVED, HostEar
from worker.images.hosts.notifications import Deleted, Derived, Moderated, Notification

NAME = "00000000-0000-4000-8000-000000000001/" + "0" * 64


class Files:
    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []

    async def lost(self, host: str, public_ids: Sequence[str], *, at: datetime) -> int:
        assert at == START
        self.told.append((host, list(public_ids)))
        return 1


async def test_of_deleted_files_ours_are_lost() -> None:
    files = Files()
    ear = HostEar(files, "cloudinary", "shop/")
    with capture_logs() as logs:
        await ear.hear(Deleted([f"shop/{NAME}", NAME, "shop/holiday", f"other/{NAME}"]), START)
        await ear.hear(Deleted(["shop/holiday"]), START)
    assert files.told == [("cloudinary", [NAME])]
    assert [line["event"] for line in logs] == [LOST]


@pytest.mark.parametrize(
    ("told", "logged"),
    [
        (Derived(NAME, 6, []), []),
        (Derived(NAME, 5, ["too large"]), [NOT_DERIVED]),
        (Moderated(NAME, "approved"), ["images.moderated"]),
    ],
)
async def test_other_things_are_told_to_people(told: Notification, logged: list[str]) -> None:
    files = Files()
    with capture_logs() as logs:
        await HostEar(files, "cloudinary", "").hear(told, START)
    assert [line["event"] for line in logs] == logged
    assert not files.told
