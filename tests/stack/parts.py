"""The parts that are Python modules of ours, each a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.stack.guard import Guard
from tests.stack.keys import Keys
from tests.stack.paths import ROOT
from tests.stack.process import Child, answers
from tests.stack.project import Project


def realtime(*, db_url: str, port: int, keys: Keys, run: Path, guard: Guard) -> Child:
    """`db_url` is a superuser's: it replicates, and becomes the subscribers' roles."""
    settings = {
        "REALTIME_DB_URL": db_url,
        "REALTIME_HOST": "127.0.0.1",
        "REALTIME_PORT": str(port),
        "REALTIME_JWT_SECRET": keys.jwt_secret,
        "REALTIME_JWKS": json.dumps(keys.public_jwks()),
    }
    health = f"http://127.0.0.1:{port}/health"
    return _python("realtime", ["tests.stack.realtime"], settings, health, run, guard)


def gateway(
    *,
    port: int,
    upstreams: Mapping[str, str],
    auth_db: str,
    storage_db: str,
    project: Project,
    keys: Keys,
    run: Path,
    guard: Guard,
) -> Child:
    """`upstreams` hold `rest`, `realtime`, `functions`; `auth_db` is supabase_auth_admin's,
    `storage_db` supabase_storage_admin's."""
    api_url = f"http://127.0.0.1:{port}"
    values = {
        "port": port,
        "api_url": api_url,
        **upstreams,
        "auth_db": auth_db,
        "storage_db": storage_db,
        "storage_folder": str(run / "storage"),
        "jwt_expiry": project.jwt_expiry,
        "verify_jwt": {function.name: function.verify_jwt for function in project.functions},
        "keys": keys.to_json(),
    }
    settings = run / "gateway.json"
    settings.touch(mode=0o600)
    settings.write_text(json.dumps(values))
    jwks = f"{api_url}/auth/v1/.well-known/jwks.json"
    return _python("gateway", ["tests.stack.gateway", str(settings)], {}, jwks, run, guard)


def _python(
    name: str, module: list[str], settings: Mapping[str, str], ready_url: str, run: Path, guard: Guard
) -> Child:
    """Of the caller's own settings only REALTIME_* reach it."""
    wanted = ("PATH", "LANG", "LC_", "REALTIME_")
    passed = {key: value for key, value in os.environ.items() if key.startswith(wanted)}
    return Child(
        name,
        [sys.executable, "-m", *module],
        env={**passed, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TZ": "UTC", **settings},
        log=run / f"{name}.log",
        guard=guard,
        ready=lambda: answers(ready_url),
    )
