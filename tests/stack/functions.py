"""Real Deno running the functions that supabase/config.toml names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import deno  # type: ignore[import-untyped]  # ships no types

from tests.stack.addresses import Addresses
from tests.stack.guard import Guard
from tests.stack.keys import Keys
from tests.stack.paths import STACK
from tests.stack.process import Child, answers
from tests.stack.project import Project
from tests.stack.scripts import deno_environment

RUNNER = STACK / "functions_runner.ts"


@dataclass(frozen=True)
class Instance:
    """One process of all functions; `url` is its own address, past the gateway: `<url>/api/pms/…`."""

    url: str
    process: Child


def functions(
    *,
    project: Project,
    port: int,
    addresses: Addresses,
    keys: Keys,
    run: Path,
    guard: Guard,
    settings: Mapping[str, str],
    name: str = "functions",
) -> Instance:
    """One process serves them all, each under `/<name>/`; ready when every one of them is imported.

    Of the caller's environment it sees what is not the platform's own, PMS_* included; `settings` win.
    """
    entrypoints = {function.name: function.entrypoint.as_uri() for function in project.functions}
    env = {
        **deno_environment(),
        "SUPABASE_URL": addresses.api_url,
        "SUPABASE_ANON_KEY": keys.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": keys.service_role_key,
        "SUPABASE_DB_URL": addresses.db_url,
        "PMS_JWT_KEY": keys.signing_key,
        "REDIS_URL": addresses.redis_url,
        "STACK_FUNCTIONS": json.dumps(entrypoints),
        "STACK_FUNCTIONS_PORT": str(port),
        **settings,
    }
    url = f"http://127.0.0.1:{port}"
    child = Child(
        name,
        [*command(project), str(RUNNER)],
        env=env,
        log=run / f"{name}.log",
        guard=guard,
        ready=lambda: answers(f"{url}/_ready"),
    )
    return Instance(url, child)


def command(project: Project) -> list[str]:
    """`deno run` with the rights of the edge runtime: network, environment, reading files."""
    arguments = [
        deno.find_deno_bin(),
        "run",
        "--allow-net",
        "--allow-env",
        "--allow-read",
        "--quiet",
        "--no-lock",
    ]
    maps = {function.import_map for function in project.functions if function.import_map is not None}
    return [*arguments, *(["--config", str(maps.pop())] if len(maps) == 1 else ["--no-config"])]
