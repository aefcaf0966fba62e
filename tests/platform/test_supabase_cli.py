"""The real Supabase CLI: it reads our project, and its `db push` makes what the platform makes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable

import pytest

from tests.stack.paths import NODE_MODULES, ROOT
from tests.stack.platform import Platform
from tests.stack.postgres import executable
from tests.stack.project import read_project

CLI = NODE_MODULES / "@supabase" / "cli-linux-x64" / "bin" / "supabase"

pytestmark = [
    pytest.mark.own_platform,
    pytest.mark.skipif(not CLI.exists(), reason="the Supabase CLI has no binary for this machine here"),
]


def supabase(*arguments: str) -> str:
    env = {**os.environ, "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        [CLI, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def schema_of(platform: Platform) -> list[str]:
    """What pg_dump says of everything but the CLI's own books."""
    command = [
        executable("pg_dump"),
        "--schema-only",
        "--restrict-key=same",
        "--exclude-schema=supabase_migrations",
    ]
    done = subprocess.run(
        [*command, platform.db_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_cli_pushes_what_the_platform_applies(make_platform: Callable[..., Platform]) -> None:
    project = read_project()
    ours = make_platform(with_realtime=False, with_functions=False)
    unmigrated = dataclasses.replace(project, migrations=(), seed=None)
    theirs = make_platform(project=unmigrated, with_realtime=False, with_functions=False)
    said = supabase("db", "push", f"--remote={theirs.db_url}", "--yes")
    assert "deprecated" not in said
    assert project.migrations[-1].version in said
    assert schema_of(theirs) == schema_of(ours)


def test_the_cli_finds_the_platforms_migrations_in_place(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(with_realtime=False, with_functions=False)
    said = supabase("db", "push", f"--remote={platform.db_url}", "--yes")
    assert "Remote database is up to date" in said
