"""The database side: the Supabase CLI pushes the migrations to a bare platform database; its advisors and
the rules of privileges.py look at it, and schema, privileges and the event catalogue in docs/ are compared
with what is stored.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from tests.check.event_docs import event_docs
from tests.check.privileges import broken_rules, list_privileges
from tests.check.programs import run_program
from tests.check.snapshots import difference
from tests.stack.guard import Guard
from tests.stack.paths import NODE_MODULES, SUPABASE, temp_base
from tests.stack.ports import PortLeases
from tests.stack.postgres import PASSWORD, SUPERUSER, Postgres, create_cluster, environment, executable
from tests.stack.project import read_project
from tests.stack.template import bootstrap

CLI = str(NODE_MODULES / "@supabase" / "cli-linux-x64" / "bin" / "supabase")
SCHEMA_SNAPSHOT = SUPABASE / "schema.snapshot.sql"
PRIVILEGES_SNAPSHOT = SUPABASE / "privileges.snapshot.txt"


def check_database(*, update: bool) -> str | None:
    """None if everything holds, else what does not. With `update` the snapshots are written, not compared."""
    with bare_database() as url:
        if problem := push(url):
            return f"supabase db push failed:\n{problem}"
        problems = [problem for problem in (advisors(url), _rules(url)) if problem]
        snapshots = {SCHEMA_SNAPSHOT: dump_schema(url), PRIVILEGES_SNAPSHOT: _privileges(url)}
        with psycopg.connect(url) as connection:
            snapshots |= event_docs(connection)
        for path, text in snapshots.items():
            if update:
                path.write_text(text)
            elif problem := difference(path, text, source="the database"):
                problems.append(problem)
    return "\n\n".join(problems) or None


@contextlib.contextmanager
def bare_database() -> Iterator[str]:
    """A server with what the hosted platform supplies and nothing of ours; the URL of its role `postgres`."""
    guard, ports = Guard(), PortLeases()
    run = Path(tempfile.mkdtemp(prefix="pms-check-", dir=temp_base()))
    run.chmod(0o711)
    guard.remove_at_end(str(run))
    try:
        create_cluster(run / "data")
        server = Postgres(run / "data", port=ports.take(), log=run / "postgres.log", guard=guard)
        server.start()
        project = read_project()
        bootstrap(server.url(SUPERUSER), project, vault=True)
        # The advisors look at the schemas that the database's own setting names.
        with psycopg.connect(server.url(SUPERUSER), autocommit=True) as connection:
            schemas = sql.Literal(",".join(project.schemas))
            connection.execute(sql.SQL("alter database postgres set pgrst.db_schemas = {}").format(schemas))
        yield server.url()
        server.stop("immediate")
    finally:
        guard.close()


def push(url: str) -> str | None:
    """`supabase db push`, as a user of a hosted project runs it."""
    return run_program([CLI, "db", "push", f"--remote={url}", "--yes"])


def advisors(url: str) -> str | None:
    """Supabase's advisors: any ERROR or WARN is a failure."""
    command = [CLI, "db", "advisors", f"--remote={url}", "--level", "warn", "--fail-on", "warn"]
    if problem := run_program(command):
        return f"supabase db advisors:\n{problem}"
    return None


def _rules(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        broken = broken_rules(connection)
    return "privileges:\n" + "\n".join(f"  {rule}" for rule in broken) if broken else None


def _privileges(url: str) -> str:
    with psycopg.connect(url) as connection:
        return "\n".join(list_privileges(connection)) + "\n"


def dump_schema(url: str) -> str:
    """`pg_dump` of our schemas, less what differs from day to day and from build to build."""
    command = [executable("pg_dump"), "--schema-only", "--no-owner", f"--dbname={url}"]
    command += [f"--schema={name}" for name in ("public", "worker", "queue", "private")]
    command += ["--exclude-table=private.events_2*", "--exclude-table=private.webhook_attempts_2*"]
    done = subprocess.run(
        command,
        env={**environment(), "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    noise = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)\n", re.MULTILINE)
    text = noise.sub("", done.stdout)
    return re.sub(r"\n{3,}", "\n\n", text).lstrip()
