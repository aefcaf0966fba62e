"""How scripts for Deno run: with the npm packages that `make .venv` fetched, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import deno  # type: ignore[import-untyped]  # ships no types

from tests.stack.paths import ROOT, STACK


def script_command(script: Path, *arguments: str) -> list[str]:
    """`deno run` of `script`, which may speak to loopback alone.

    Without the lock file Deno asks the registry for versions, and finds none of them in its cache.
    """
    packages = ["--lock", str(STACK / "deno.lock"), "--frozen", "--no-config", "--cached-only"]
    rights = ["--allow-net=127.0.0.1", "--allow-env", "--allow-read"]
    return [deno.find_deno_bin(), "run", "--quiet", *packages, *rights, str(script), *arguments]


def deno_environment() -> dict[str, str]:
    """The caller's, less what would shape Deno or tell a script of another Supabase."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "DENO_"))},
        "DENO_DIR": os.environ.get("DENO_DIR", str(ROOT / ".cache" / "deno")),
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
