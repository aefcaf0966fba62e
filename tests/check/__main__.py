"""`make check`: every step is run, two at a time, then the failures are shown; exit 1 if there were any.

`python -m tests.check --update` rewrites the snapshots of schema and privileges, and what docs/ shows of the
event catalogue and the API, instead of comparing them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.check.api_docs import check_api_docs
from tests.check.database import check_database
from tests.check.programs import run_program
from tests.stack.paths import ROOT

BIN = str(ROOT / ".venv" / "bin")
DENO = [f"{BIN}/deno"]
CONFIG = ["--config", "functions/deno.json"]
SCRIPTS = sorted(str(path) for path in (ROOT / "tests").rglob("*.ts") if "node_modules" not in path.parts)
PROGRAMS = {
    "format": [f"{BIN}/ruff", "format", "--check", "."],
    "lint": [f"{BIN}/ruff", "check", "."],
    "types": [f"{BIN}/mypy"],
    "imports": [f"{BIN}/lint-imports"],
    "typescript format": [*DENO, "fmt", "--check", *CONFIG, "functions", *SCRIPTS],
    "typescript lint": [*DENO, "lint", *CONFIG, "--rules-exclude=no-import-prefix", "functions", *SCRIPTS],
    "typescript types": [*DENO, "check", *CONFIG, "functions"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.check", description=__doc__)
    parser.add_argument("--update", action="store_true", help="rewrite the snapshots")
    update = parser.parse_args().update

    steps: dict[str, Callable[[], str | None]] = {
        name: lambda command=command: run_program(command)  # type: ignore[misc]  # a default binds the loop's value
        for name, command in PROGRAMS.items()
    }
    steps["api docs"] = lambda: check_api_docs(update=update)
    steps["database"] = lambda: check_database(update=update)
    with ThreadPoolExecutor(max_workers=2) as two:  # types take as long as all the others
        problems = two.map(_timed, steps.keys(), steps.values())
        failures = {
            name: problem for name, problem in zip(steps, problems, strict=True) if problem is not None
        }
    for name, problem in failures.items():
        print(f"\n── {name} ──\n{problem}")
    print(f"\ncheck: {len(steps) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


def _timed(name: str, step: Callable[[], str | None]) -> str | None:
    started = time.monotonic()
    problem = step()
    print(f"{'ok  ' if problem is None else 'FAIL'} {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return problem


if __name__ == "__main__":
    sys.exit(main())
