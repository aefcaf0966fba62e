"""Runs a command, or the worker, against a platform."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.stack.errors import StackError
from tests.stack.platform import Platform
from tests.stack.process import Child, answers
from tests.stack.signals import Forwarding, signal_group


def run_command(platform: Platform, command: Sequence[str]) -> int:
    """The command's exit code; 128 + n if signal n ended it. Ctrl-C and SIGTERM reach it first.

    Its process group is its own, so that killing this process ends its children too (guard.py), and it gets
    the terminal, so that it can read from it. Raises `StackError` if there is no such command.
    """
    addresses = platform.addresses
    env = {**os.environ, **addresses.status(), **addresses.worker_settings(platform.ports.take())}
    env["ADMIN_DB_URL"] = addresses.admin_db_url
    with Forwarding() as forwarding:
        try:
            enlist = platform.guard.enlisting()
            process = subprocess.Popen(command, env=env, process_group=0, preexec_fn=enlist)  # noqa: PLW1509
        except OSError as error:
            raise StackError(f"cannot run {command[0]}: {error.strerror}") from error
        forwarding.aim(process.pid)
        with _foreground(process.pid):
            code = process.wait()
        signal_group(process.pid, signal.SIGTERM)  # what it left behind in its group
        platform.guard.forget(process.pid)
    return code if code >= 0 else 128 - code


def start_worker(platform: Platform) -> str:
    """Run `pms-worker run` beside the platform; its health address. Raises `PartFailedError` with its log."""
    port = platform.ports.take()
    worker = Child(
        "worker",
        [sys.executable, "-m", "worker", "run"],
        env={**os.environ, **platform.addresses.worker_settings(port)},
        log=platform.run / "worker.log",
        guard=platform.guard,
        ready=lambda: answers(f"http://127.0.0.1:{port}/readyz"),
    )
    worker.start()
    platform.adopt("worker", worker)
    return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _foreground(group: int) -> Iterator[None]:
    """Give the terminal, if there is one and it is ours, to `group` for a while."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield
        return
    mine = os.tcgetpgrp(terminal) == os.getpgrp()
    former = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        if mine:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, group)
            signal_group(group, signal.SIGCONT)  # it may have asked before it was its turn
        yield
    finally:
        if mine:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, os.getpgrp())
        signal.signal(signal.SIGTTOU, former)
        os.close(terminal)
