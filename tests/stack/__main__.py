"""`python -m tests.stack up [--with-worker] [--port N]` and `python -m tests.stack run -- COMMAND…`."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence

from tests.stack.command import run_command, start_worker
from tests.stack.errors import StackError
from tests.stack.paths import ROOT
from tests.stack.platform import Platform
from tests.stack.ports import is_free
from tests.stack.signals import end_politely

PORT = 54321
DB_PORT = 54322
UP_FILE = ROOT / ".cache" / "up.env"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    end_politely()
    try:
        if options.verb == "run":
            return _run(options.command, durable=options.durable)
        return _up(options)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description="A Supabase on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start it, print its addresses and keys, stay until Ctrl-C")
    up.add_argument("--with-worker", action="store_true", help="also run the worker against it")
    up.add_argument(
        "--port", type=int, help=f"the gateway's port (default {PORT}, or a free one if that is taken)"
    )
    run = verbs.add_parser("run", help="start a fresh one, run COMMAND against it, tear it down")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    for verb in (up, run):
        verb.add_argument("--durable", action="store_true", help="Postgres syncs to disk, as in production")
    return parser.parse_args(arguments)


def _run(command: list[str], *, durable: bool) -> int:
    with Platform(durable=durable) as platform:
        return run_command(platform, command)


def _up(options: argparse.Namespace) -> int:
    port = options.port or (PORT if is_free(PORT) else None)
    db_port = DB_PORT if is_free(DB_PORT) else None
    with Platform(durable=options.durable, port=port, db_port=db_port) as platform:
        status = platform.addresses.status()
        if options.with_worker:
            status["WORKER_URL"] = start_worker(platform)
        for name, value in status.items():
            print(f'{name}="{value}"', flush=True)
        with _environment_file({**platform.addresses.worker_settings(0), **status}):
            print(
                f"Running until Ctrl-C. For another terminal: . {UP_FILE.relative_to(ROOT)}",
                file=sys.stderr,
                flush=True,
            )
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return 0


@contextlib.contextmanager
def _environment_file(variables: Mapping[str, str]) -> Iterator[None]:
    """What a shell sources to speak to the platform that is up; gone with it. The last one started wins."""
    UP_FILE.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    UP_FILE.touch(mode=0o600)
    UP_FILE.write_text(text)
    try:
        yield
    finally:
        if UP_FILE.exists() and UP_FILE.read_text() == text:
            UP_FILE.unlink()


if __name__ == "__main__":
    sys.exit(main())
