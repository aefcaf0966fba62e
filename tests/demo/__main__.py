"""`python -m tests.demo`: exit 0 and `{"demo": "ok", …}` as the last line only if everything was verified."""

from __future__ import annotations

import io
import json
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from rich.console import Console

from tests.demo.receiver import Receiver
from tests.demo.screens import screen_for
from tests.demo.stage import DemoFailedError
from tests.demo.story import Story, new_board
from tests.stack.errors import StackError

OK, FAILED, INTERRUPTED = 0, 1, 130


def main(*, make_receiver: Callable[[], Receiver] = Receiver) -> int:
    """The exit code; everything that was started is torn down. Tests pass a receiver that loses something."""
    _listen_to_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ticks and bars are not worth a crash
    console, board = Console(), new_board()
    story: Story | None = None
    try:
        with screen_for(console, board) as screen:
            story = Story(board, screen, make_receiver=make_receiver)
            figures = story.play()
    except (DemoFailedError, StackError) as error:
        why, _, more = str(error).partition("\n")
        if more:
            print(f"\n{more}", file=sys.stderr)
        if story is not None and story.worker_said:
            print(f"\nThe worker's last words:\n{story.worker_said}", file=sys.stderr)
        return _last_line({"demo": "failed", "why": why.rstrip(":")}, FAILED)
    except Exception as error:  # a fault of the demo itself: whoever reads the last line must hear of it too
        traceback.print_exc()
        return _last_line({"demo": "failed", "why": f"{type(error).__name__}: {error}"}, FAILED)
    except KeyboardInterrupt:
        return _last_line({"demo": "failed", "why": "interrupted"}, INTERRUPTED)
    return _last_line({"demo": "ok", **figures}, OK)


def _last_line(words: dict[str, Any], code: int) -> int:
    sys.stderr.flush()
    print(f"\n{json.dumps(words, ensure_ascii=False)}", flush=True)
    return code


def _listen_to_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts with `&`
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Whoever ends us means Ctrl-C: the same way out."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
