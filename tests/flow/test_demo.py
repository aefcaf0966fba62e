"""The demo says "ok" when everything arrived, and finds out when something did not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.demo.__main__ import FAILED, INTERRUPTED, main
from tests.demo.receiver import Inbox, Receiver
from tests.eventually import wait_until
from tests.stack.paths import ROOT

pytestmark = [pytest.mark.own_platform, pytest.mark.timeout(180)]

DEMO = [sys.executable, "-m", "tests.demo"]


def last_line(out: str) -> dict[str, Any]:
    found = json.loads(out.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_whole_demo() -> None:
    done = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    words = last_line(done.stdout)
    assert (done.returncode, words["demo"]) == (0, "ok"), done.stdout + done.stderr
    assert words["imported"] == 33
    assert words["refused_lines"] == 2
    assert words["events"] > 200
    # four endpoints, each sees at least what its filter lets through
    assert words["deliveries_verified"] > words["events"]
    assert words["retried"] >= 10
    assert words["duplicates"] == 0
    assert "\x1b[" not in done.stdout, "plain lines without a terminal"


def test_ctrl_c_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        DEMO, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        heard = ""
        while "Import again …" not in heard:
            line = demo.stdout.readline()
            assert line, heard
            heard += line
        children = children_of(demo.pid)
        assert children, "Postgres and the others are children of the demo"
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert last_line(rest) == {"demo": "failed", "why": "interrupted"}
    assert demo.returncode == INTERRUPTED
    wait_until(lambda: not any(map(alive, children)), what="every child ended")


def test_a_part_that_does_not_start() -> None:
    environment = {**os.environ, "STACK_POSTGREST_BIN": "/bin/false"}
    done = subprocess.run(
        DEMO, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == FAILED
    assert last_line(done.stdout) == {
        "demo": "failed",
        "why": "PostgREST ended with exit code 1 while starting",
    }
    assert "Traceback" not in done.stdout + done.stderr


class ForgetfulInbox(Inbox):
    """Answers 204 and loses one delivery."""

    def keep(self, receipt: Any) -> None:
        if len(self.answers) != 7:
            super().keep(receipt)


class StubbornInbox(Inbox):
    """Expects another secret than the one that signs."""

    def open(self, *, tenant_id: str, endpoint_id: str, secret: str) -> None:
        other = secret[:-8] + ("A" * 7 + "=" if secret[-8:] != "A" * 7 + "=" else "B" * 7 + "=")
        super().open(tenant_id=tenant_id, endpoint_id=endpoint_id, secret=other)


@pytest.mark.parametrize(
    ("inbox", "why"),
    [
        pytest.param(ForgetfulInbox, "Fjellmat · everything: its owner sees", id="a delivery lost"),
        pytest.param(StubbornInbox, "did not verify", id="a wrong secret"),
    ],
)
def test_the_demo_can_fail(inbox: type[Inbox], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        code = main(make_receiver=first_inbox_is(inbox))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    shown = capsys.readouterr()
    words = last_line(shown.out)
    assert (code, words["demo"]) == (FAILED, "failed")
    assert why in words["why"]
    assert "The worker's last words" in shown.err


def first_inbox_is(kind: type[Inbox]) -> Callable[[], Receiver]:
    class Odd(Receiver):
        def new_inbox(self, name: str, url: str, events: tuple[str, ...]) -> Inbox:
            return super().new_inbox(name, url, events) if self.inboxes else kind(name, url, events)

    return Odd


def children_of(parent: int) -> list[int]:
    """Of any of its threads."""
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for each in lists for pid in each.read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
