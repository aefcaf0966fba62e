"""The demo from beginning to end: its acts, in their order, and what is torn down whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import httpx

from tests.demo import (
    audit,
    companies,
    editing,
    importing,
    machines,
    offline,
    ordering,
    pictures,
    stock,
    strangers,
)
from tests.demo.board import Board, Row, Screen, percentile
from tests.demo.daemon import WorkerDaemon
from tests.demo.receiver import Receiver
from tests.demo.stage import DemoFailedError, Stage, expect, json_of
from tests.eventually import DidNotHappenError
from tests.images.picture_server import picture_server
from tests.people import People
from tests.stack.errors import StackError
from tests.stack.platform import Platform

Act = Callable[[Stage], Awaitable[str]]

PLATFORM, WORKER, END = "Platform", "Worker", "End"
ACTS: Final[Sequence[tuple[str, Act]]] = (
    ("Companies", companies.sign_up),
    ("Import", importing.import_catalogue),
    ("Pictures", pictures.show_pictures),
    ("Import again", importing.import_again),
    ("Stock", stock.stock_up),
    ("Orders", ordering.sell),
    ("supabase-js", editing.use_supabase_js),
    ("Busy minute", editing.edit_by_http),
    ("Offline", offline.edit_offline),
    ("Machines", machines.use_api_key),
    ("Strangers", strangers.try_doors),
    ("Retries", audit.wait_until_settled),
    ("Audit", audit.compare),
)


def new_board() -> Board:
    """The playbill, nothing of it begun."""
    return Board([Row(title) for title in (PLATFORM, WORKER, *(title for title, _ in ACTS), END)])


class Story:
    """Plays it on real parts. `play` returns the last line's figures or raises `DemoFailedError`."""

    def __init__(
        self, board: Board, screen: Screen, *, make_receiver: Callable[[], Receiver] = Receiver
    ) -> None:
        self._board, self._screen = board, screen
        self._make_receiver = make_receiver
        self._platform = Platform()
        self._worker_said = ""

    @property
    def worker_said(self) -> str:
        """The end of the worker's log, for who looks for the cause of a failure."""
        return self._worker_said

    def play(self) -> dict[str, Any]:
        """Starts everything, plays every act, and leaves nothing running: also on Ctrl-C."""
        try:
            with self._board.acting(PLATFORM, self._screen) as row:
                row.note = "Postgres, PostgREST, Realtime, Auth and Deno start"
                self._platform.start()
                _check_parts(self._platform)
                row.note = "Postgres 17, PostgREST, Realtime, Auth, an edge function, one gateway"
            return asyncio.run(self._play_all())
        except DidNotHappenError as error:
            raise DemoFailedError(str(error)) from error
        except httpx.HTTPError as error:
            raise DemoFailedError(f"the platform does not answer: {type(error).__name__} {error}") from error
        except StackError as error:
            raise DemoFailedError(str(error)) from error
        finally:
            self._platform.stop()

    async def _play_all(self) -> dict[str, Any]:
        worker = WorkerDaemon(self._platform)
        people = People(self._platform.addresses)
        try:
            async with self._make_receiver() as receiver, picture_server() as served:
                with self._board.acting(WORKER, self._screen) as row:
                    row.note = "pms-worker run"
                    await worker.start()
                    row.note = "pms-worker is ready and hears Realtime"
                stage = Stage(self._platform, receiver, people, served, say=lambda _: None)
                self._board.stage = stage
                for title, act in ACTS:
                    with self._board.acting(title, self._screen) as row:
                        stage.say = _teller(row)
                        row.note = await act(stage)
                        audit.expect_no_problems(stage)
                with self._board.acting(END, self._screen) as row:
                    row.note = "SIGTERM"
                    await worker.stop()
                    row.note = "the worker drained, gave its lanes back and ended with exit code 0"
                return self._figures(stage)
        finally:
            self._worker_said = worker.tail()
            await people.close()

    def _figures(self, stage: Stage) -> dict[str, Any]:
        inboxes, latencies = stage.receiver.inboxes, self._board.latencies()
        p50, p99 = percentile(latencies, 0.50), percentile(latencies, 0.99)
        return {
            "events": stage.figures.pop("events"),
            "deliveries_verified": sum(len(inbox.receipts) for inbox in inboxes),
            "retried": sum(inbox.retried for inbox in inboxes),
            "duplicates": sum(inbox.duplicates for inbox in inboxes),
            "tenants": len(stage.companies),
            "endpoints": len(inboxes),
            **stage.figures,
            "latency_p50_ms": p50 and round(p50, 1),
            "latency_p99_ms": p99 and round(p99, 1),
            "seconds": round(time.monotonic() - self._board.began, 1),
        }


def _teller(row: Row) -> Callable[[str], None]:
    def say(text: str) -> None:
        row.note = text

    return say


def _check_parts(platform: Platform) -> None:
    """The edge function answers through the gateway, and finds the database behind it."""
    health = json_of(
        httpx.get(f"{platform.api_url}/functions/v1/api/pms/health", timeout=20), "the edge function"
    )
    expect(health["status"] == "ok", f"the edge function finds no database: {health}")
