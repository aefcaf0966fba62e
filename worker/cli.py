"""`pms-worker`: parse, load the settings, run, answer an exit code: 0 fine, 1 failed, 2 settings or usage."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NoReturn

from worker.config import Settings
from worker.engine.ending import leave
from worker.errors import SettingsError, WorkerError
from worker.log import redact, set_up_logging

FINE, FAILED, MISUSED = 0, 1, 2


def entry() -> NoReturn:
    """The console script."""
    leave(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code is the answer."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    args = parser.parse_args(arguments)
    command: Callable[[Settings, argparse.Namespace], int] = args.command
    try:
        settings = Settings.load()
        set_up_logging(
            log_format=settings.worker_log_format, level=args.log_level or settings.worker_log_level
        )
        return command(settings, args)
    except SettingsError as error:
        for problem in error.problems:
            _complain(problem)
        return MISUSED
    except WorkerError as error:
        _complain(str(error))
        return FAILED
    except BrokenPipeError:
        # whoever read our output has gone; Python must not stumble over it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _complain(text: str) -> None:
    print(f"pms-worker: {redact(text)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pms-worker",
        description="The worker of the product management system. Settings come from the environment "
        "and .env: see .env.example.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[Settings, argparse.Namespace], int], text: str, *, log_level: str | None
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        # commands that print a result log only what goes wrong
        sub.set_defaults(command=run, log_level=log_level)
        return sub

    add("run", _run, "work until a signal comes, then drain and stop", log_level=None)
    drain = add("drain", _drain, "work until everything is done, then exit", log_level=None)
    drain.add_argument(
        "--wait",
        type=_seconds,
        default=timedelta(0),
        metavar="SECONDS",
        help="also wait for retries that fall due within this time (default: only what is due now)",
    )
    add(
        "doctor",
        _doctor,
        "check settings, keys, database and Realtime, and say what to do",
        log_level="ERROR",
    )
    status = add("status", _status, "show what is waiting and who works", log_level="ERROR")
    status.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _add_catalogue(
        add("import", _import, "import products from a file", log_level="WARNING"),
        add("export", _export, "export a tenant's products", log_level="WARNING"),
    )
    return parser


def _add_catalogue(importer: argparse.ArgumentParser, exporter: argparse.ArgumentParser) -> None:
    from worker.catalogue import commands

    commands.add_arguments(importer, exporter)


def _run(settings: Settings, _args: argparse.Namespace) -> int:
    from worker.app import run_worker
    from worker.engine.ending import ending_in_time

    asyncio.run(ending_in_time(run_worker(settings)))
    return FINE


def _drain(settings: Settings, args: argparse.Namespace) -> int:
    from worker.drain import drain_worker
    from worker.engine.ending import ending_in_time

    asyncio.run(ending_in_time(drain_worker(settings, wait=args.wait)))
    return FINE


def _doctor(settings: Settings, _args: argparse.Namespace) -> int:
    from worker.doctor import examine

    return FINE if asyncio.run(examine(settings)) else FAILED


def _status(settings: Settings, args: argparse.Namespace) -> int:
    from worker.status import show

    asyncio.run(show(settings, as_json=args.json))
    return FINE


def _import(settings: Settings, args: argparse.Namespace) -> int:
    from worker.catalogue import commands

    return commands.run_import(settings, args)


def _export(settings: Settings, args: argparse.Namespace) -> int:
    from worker.catalogue import commands

    return commands.run_export(settings, args)


def _seconds(text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 86_400 * 30:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds between 0 and 2592000")
    return timedelta(seconds=seconds)
