"""Runs one program of the checks."""

from __future__ import annotations

import os
import subprocess

from tests.stack.paths import ROOT

PATIENCE = 300
"""Seconds until a program that hangs is ended."""


def run_program(command: list[str], **environment: str) -> str | None:
    """None if `command` exits 0, else what it printed."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {PATIENCE} s"
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()
