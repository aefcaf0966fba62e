"""The whole platform as one object. Synchronous: it manages processes, which tests kill and restart."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.stack import migrations, template
from tests.stack.addresses import Addresses
from tests.stack.errors import PartFailedError, StackError
from tests.stack.functions import Instance, functions
from tests.stack.guard import Guard
from tests.stack.keys import Keys, make_keys
from tests.stack.parts import gateway, realtime
from tests.stack.paths import memory_base, temp_base
from tests.stack.ports import PortLeases
from tests.stack.postgres import SUPERUSER, Postgres, StopMode
from tests.stack.postgrest import postgrest
from tests.stack.process import Child
from tests.stack.project import Project, read_project
from tests.stack.redis import NO_REDIS, binary, redis


class Platform:
    """Postgres, PostgREST, Realtime, Redis, the functions and the gateway, on loopback.

    `durable` makes Postgres sync to disk as in production; `in_memory` asks for a run directory that is on no
    disk (see `memory_base`); `port` and `db_port` ask for fixed ports (raises
    `PortTakenError`), free ones are chosen otherwise; `vault=False` leaves out vault; `project` defaults to
    supabase/; `function_settings` are more variables of the functions' environment. Where no redis-server is
    found, or with `with_redis=False`, it goes without. A part can be another one: STACK_DB_URL (superuser,
    wal_level logical), STACK_REALTIME_URL, STACK_POSTGREST_BIN, STACK_REDIS_BIN, STACK_REDIS_URL.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        in_memory: bool = False,
        with_realtime: bool = True,
        with_functions: bool = True,
        with_redis: bool = True,
        function_settings: Mapping[str, str] = MappingProxyType({}),
        vault: bool | None = None,
        port: int | None = None,
        db_port: int | None = None,
        project: Project | None = None,
    ) -> None:
        self.project = project or read_project()
        self.keys: Keys = make_keys(os.environ.get("STACK_JWT_SECRET"))
        self.ports = PortLeases()
        self.run = Path("/nonexistent")
        """The run's own directory: data, logs, settings. Exists between `start` and `stop`."""
        self._durable = durable
        self._in_memory = in_memory
        self._with_realtime = with_realtime
        self._with_functions = with_functions
        self._with_redis = with_redis
        self._function_settings = dict(function_settings)
        self._vault = os.environ.get("STACK_VAULT") != "off" if vault is None else vault
        self._wanted_port = port
        self._wanted_db_port = db_port
        self._guard: Guard | None = None
        self._postgres: Postgres | None = None
        self._parts: dict[str, Child] = {}
        self._addresses: Addresses | None = None
        self._realtime_url = ""

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> Addresses:
        if self._addresses is None:
            raise StackError("the platform is not started")
        return self._addresses

    @property
    def api_url(self) -> str:
        return self.addresses.api_url

    @property
    def db_url(self) -> str:
        """As the role `postgres`."""
        return self.addresses.db_url

    @property
    def admin_db_url(self) -> str:
        """As the superuser `supabase_admin`."""
        return self.addresses.admin_db_url

    @property
    def postgres(self) -> Postgres:
        if self._postgres is None:
            raise StackError("Postgres is not the platform's own: STACK_DB_URL is set, or it is not started")
        return self._postgres

    @property
    def realtime(self) -> Child:
        return self._part("realtime")

    @property
    def realtime_url(self) -> str:
        """The Realtime server's own address, past the gateway."""
        return self._realtime_url

    @property
    def postgrest(self) -> Child:
        return self._part("postgrest")

    @property
    def gateway(self) -> Child:
        return self._part("gateway")

    @property
    def functions(self) -> Child:
        return self._part("functions")

    @property
    def redis(self) -> Child:
        """Kill it and start it again: it comes back empty, at the same address. Raises `StackError` where
        there is none (see `addresses.redis_url`)."""
        return self._part("redis")

    @property
    def guard(self) -> Guard:
        if self._guard is None:
            raise StackError("the platform is not started")
        return self._guard

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Raises `StackError` (its message names the cause); then nothing is left running."""
        base = memory_base() if self._in_memory else temp_base()
        self.run = Path(tempfile.mkdtemp(prefix="pms-stack-", dir=base))
        self.run.chmod(0o711)  # Postgres' user must reach its data directory, and list nothing
        self._guard = Guard()
        self._guard.remove_at_end(str(self.run))
        try:
            port = self.ports.take(self._wanted_port)
            self._start_database()
            self._make_parts(port)
            for part in self._parts.values():
                part.spawn()
            for part in self._parts.values():
                part.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Safe to call twice."""
        for part in reversed(self._parts.values()):
            part.stop()
        self._parts.clear()
        if self._postgres is not None:
            self._postgres.stop()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        shutil.rmtree(self.run, ignore_errors=True)
        self.ports.release()

    def adopt(self, name: str, part: Child) -> None:
        """Another process that ends with the platform, before everything else."""
        self._parts[name] = part

    def restart_postgres(self, mode: StopMode = "immediate") -> None:
        """`immediate` is a crash: no checkpoint, WAL is replayed at the start."""
        self.postgres.restart(mode)

    def start_functions(self, name: str = "functions-2", **settings: str) -> Instance:
        """One more process of the functions over the same platform and Redis, as hosted ones are many.

        It is reached at its own address, past the gateway; `settings` are more variables of its environment.
        """
        instance = self._make_functions(self.ports.take(), name, settings)
        self.adopt(name, instance.process)
        instance.process.start()
        return instance

    def logs(self) -> dict[str, str]:
        """The end of every part's log, by name."""
        return {
            path.stem: "\n".join(path.read_text().splitlines()[-30:])
            for path in sorted(self.run.glob("*.log"))
        }

    # -- parts -----------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Child:
        try:
            return self._parts[name]
        except KeyError:
            raise StackError(f"this platform runs no {name} of its own") from None

    def _start_database(self) -> None:
        if url := os.environ.get("STACK_DB_URL"):
            self._adopt_database(url)
            return
        self._postgres = self._postgres_from_template()
        try:
            self._postgres.start()
        except PartFailedError:
            # A template that was damaged after it was made: build it anew, once.
            template.discard(self.project, vault=self._vault)
            shutil.rmtree(self._postgres.data)
            self._postgres = self._postgres_from_template()
            self._postgres.start()

    def _postgres_from_template(self) -> Postgres:
        data = self.run / "data"
        template.place_data_directory(data, self.project, vault=self._vault)
        return Postgres(
            data,
            port=self.ports.take(self._wanted_db_port),
            log=self.run / "postgres.log",
            guard=self.guard,
            durable=self._durable,
        )

    def _adopt_database(self, url: str) -> None:
        with contextlib.closing(psycopg.connect(url, connect_timeout=5)) as connection:
            bare = (
                connection.execute("select from pg_roles where rolname = 'authenticator'").fetchone() is None
            )
        if bare:
            template.bootstrap(url, self.project, vault=self._vault)
        migrations.apply_migrations(self._url_as("postgres"), self.project)

    def _url_as(self, user: str) -> str:
        """The database's address for one of its roles, which all have the same password, as locally."""
        if url := os.environ.get("STACK_DB_URL"):
            parts = urlsplit(url)
            user = (parts.username or user) if user == SUPERUSER else user
            place = f"{parts.hostname}:{parts.port or 5432}"
            return urlunsplit(parts._replace(netloc=f"{user}:{parts.password or ''}@{place}"))
        return self.postgres.url(user)

    def _make_parts(self, port: int) -> None:
        api_url = f"http://127.0.0.1:{port}"
        self._addresses = Addresses(
            api_url=api_url,
            anon_key=self.keys.anon_key,
            service_role_key=self.keys.service_role_key,
            publishable_key=self.keys.publishable_key,
            secret_key=self.keys.secret_key,
            db_url=self._url_as("postgres"),
            admin_db_url=self._url_as(SUPERUSER),
            jwt_secret=self.keys.jwt_secret,
            signing_key=self.keys.signing_key,
            image_dir=str(self.run / "images"),
            redis_url=self._make_redis(),
        )
        rest_port, functions_port = self.ports.take(), self.ports.take()
        self._parts["postgrest"] = postgrest(
            db_url=self._url_as("authenticator"),
            port=rest_port,
            admin_port=self.ports.take(),
            keys=self.keys,
            project=self.project,
            run=self.run,
            guard=self.guard,
        )
        if self._with_functions and self.project.functions:
            self._parts["functions"] = self._make_functions(functions_port, "functions", {}).process
        self._realtime_url = self._make_realtime()
        upstreams = {
            "rest": f"http://127.0.0.1:{rest_port}",
            "realtime": self._realtime_url,
            "functions": f"http://127.0.0.1:{functions_port}",
        }
        self._parts["gateway"] = gateway(
            port=port,
            upstreams=upstreams,
            auth_db=self._url_as("supabase_auth_admin"),
            storage_db=self._url_as("supabase_storage_admin"),
            project=self.project,
            keys=self.keys,
            run=self.run,
            guard=self.guard,
        )

    def _make_functions(self, port: int, name: str, settings: Mapping[str, str]) -> Instance:
        return functions(
            project=self.project,
            port=port,
            addresses=self.addresses,
            keys=self.keys,
            run=self.run,
            guard=self.guard,
            settings={**self._function_settings, **settings},
            name=name,
        )

    def _make_redis(self) -> str:
        """Its address; empty, with one line to say so, where there is none."""
        if not self._with_redis:
            return ""
        if url := os.environ.get("STACK_REDIS_URL"):
            return url
        if (executable := binary()) is None:
            print(f"stack: going without Redis: {NO_REDIS}", file=sys.stderr, flush=True)
            return ""
        port = self.ports.take()
        self._parts["redis"] = redis(executable, port=port, run=self.run, guard=self.guard)
        return f"redis://127.0.0.1:{port}/0"

    def _make_realtime(self) -> str:
        """Its address. Without a Realtime the address is of nobody, and the gateway answers 503."""
        if url := os.environ.get("STACK_REALTIME_URL"):
            return url.rstrip("/")
        port = self.ports.take()
        if self._with_realtime:
            self._parts["realtime"] = realtime(
                db_url=self.addresses.admin_db_url, port=port, keys=self.keys, run=self.run, guard=self.guard
            )
        return f"http://127.0.0.1:{port}"
