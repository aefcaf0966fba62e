"""The status as people read it."""

from __future__ import annotations

from rich.console import Console

from tests.gateway.test_drain import status
from worker.gateway.status import Status
from worker.status import table


def test_a_name_is_shown_as_it_is_whatever_it_looks_like() -> None:
    peers = [{"name": "[/b] at [red]host", "lanes": 3, "expires_at": "2026-11-23T08:00:00Z"}]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(Status.model_validate(status() | {"workers": peers})))
    assert "lanes, [/b] at [red]host" in captured.get()
