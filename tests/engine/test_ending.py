"""A process ends with its own exit code, whatever its libraries do while the interpreter is taken down."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.stack.paths import ROOT

# What a library's thread does to the process when it wants an interpreter that is going.
ABORTS_AT_THE_END = (
    "import atexit, os, sys; atexit.register(os.abort); from worker.engine.ending import leave; "
)


def ended(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("main", "code", "out"),
    [
        ("lambda: print('done') or 0", 0, "done\n"),
        ("lambda: 2", 2, ""),
        ("lambda: sys.exit(2)", 2, ""),
        ("lambda: sys.exit()", 0, ""),
        ("lambda: sys.exit('why')", 1, ""),
    ],
)
def test_the_answer_is_the_exit_code(main: str, code: int, out: str) -> None:
    assert ended(f"{ABORTS_AT_THE_END} leave({main})")[:2] == (code, out)


def test_an_error_that_nobody_caught_is_shown() -> None:
    code, _, error = ended(f"{ABORTS_AT_THE_END} leave(lambda: 1 / 0)")
    assert code == 1
    assert "ZeroDivisionError" in error


def test_without_it_the_process_is_aborted() -> None:
    code, *_ = ended(f"{ABORTS_AT_THE_END} sys.exit(0)")
    assert code < 0


def test_output_that_nobody_reads_is_no_error() -> None:
    code, _, error = ended(f"{ABORTS_AT_THE_END} sys.stdout.close(); leave(lambda: 0)")
    assert (code, error) == (0, "")
