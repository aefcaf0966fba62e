"""The status as people read it."""

from __future__ import annotations

from rich.console import Console

from tests.gateway.healths import health
from tests.gateway.test_drain import status
from worker.gateway.status import Status
from worker.status import table


def test_a_name_is_shown_as_it_is_whatever_it_looks_like() -> None:
    peers = [{"name": "[/b] at [red]host", "lanes": 3, "expires_at": "2026-11-23T08:00:00Z"}]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(Status.model_validate(status() | {"workers": peers}), health()))
    assert "lanes, [/b] at [red]host" in captured.get()


def test_the_queues_health_is_read_at_a_glance() -> None:
    seen = health(
        endpoints={"active": 1200, "paused": 1, "disabled": 3},
        endpoints_failing=2,
        invalid_events=7,
        xmin={"kind": "session", "name": "pid 7, [red]etl", "xids": 44, "seconds": 61},
        dead=250_000,
    )
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table(Status.model_validate(status()), seen))
    text = captured.get()
    for part in (
        "1,200 active, 1 paused, 3 disabled; 2 failing",
        "events kept from webhooks",
        "days ahead, the oldest is of 30 days ago",
        "250,000 dead rows in the queues, most in private.outbox (250,000)",
        "held back by session pid 7, [red]etl for 61 s, 44 transactions",
    ):
        assert part in text, text
