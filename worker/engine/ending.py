"""How the process ends: at a signal in two steps, and in time whatever still hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, NoReturn

from worker.log import END_OVERDUE, get_logger

END_WITHIN: Final = timedelta(seconds=3)


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs `main` and ends the process with its answer, without taking the interpreter down.

    The HTTP client's threads outlive the event loop, and one that wants the interpreter while it is taken
    down aborts the process: pyreqwest 0.15, exit by SIGABRT after the work was done, on a busy machine.
    """
    try:
        code = main()
    except SystemExit as stop:  # argparse, after --help or a complaint
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # any: it is shown as Python would show it
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        # whoever read it may have gone
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGTERM or SIGINT calls `stop`; a second one ends the process at once."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
    received = 0

    def on_signal() -> None:
        nonlocal received
        received += 1
        if received > 1:
            # no clean-up at all: whoever asks twice means it, and the leases run out by themselves
            os._exit(1)
        stop()

    for each in signals:
        loop.add_signal_handler(each, on_signal)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


async def ending_in_time(work: Coroutine[None, None, None], *, within: timedelta = END_WITHIN) -> None:
    """Runs `work`, and then lets the process take `within` to end, with exit code 0, or 1 if `work` raised.

    To be the outermost of what runs: Python waits without bound for tasks that swallow their cancellation,
    and for the threads of executors, in which a handler or a look-up of a name may hang.
    """
    code = 1
    try:
        await work
        code = 0
    finally:
        # a daemon thread, so that it does not itself keep the process
        threading.Thread(target=_end, args=(within, code), name="ending", daemon=True).start()


def _end(within: timedelta, code: int) -> None:
    time.sleep(within.total_seconds())
    hanging = [each.name for each in threading.enumerate() if each.name != "ending" and not each.daemon]
    get_logger("worker").error(END_OVERDUE, seconds=within.total_seconds(), threads=hanging)
    os._exit(code)
