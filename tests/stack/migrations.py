"""Applies migrations as `supabase db push` does: as `postgres`, in order, each in one transaction."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.stack.errors import MigrationError
from tests.stack.project import Migration, Project

HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""


def apply_migrations(db_url: str, project: Project) -> list[str]:
    """Apply what the database at `db_url` (role `postgres`) lacks, then the seed if anything was applied.

    Returns the versions applied. Raises `MigrationError` with file, line and Postgres' message; the file that
    failed leaves nothing behind.
    """
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(HISTORY)
        done = {
            row[0] for row in connection.execute("select version from supabase_migrations.schema_migrations")
        }
        missing = [migration for migration in project.migrations if migration.version not in done]
        for migration in missing:
            _apply(connection, migration)
        if missing and project.seed is not None:
            run_file(connection, project.seed)
    return [migration.version for migration in missing]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        run_file(connection, migration.path)
        connection.execute(
            """insert into supabase_migrations.schema_migrations (version, name, statements)
               values (%s, %s, %s)""",
            (migration.version, migration.name, [migration.path.read_text()]),
        )
    # A `set` in one file must not shape the next one.
    connection.execute("reset all")


def run_file(connection: psycopg.Connection, path: Path) -> None:
    """Run a whole file as one simple query. Raises `MigrationError`."""
    text = path.read_text()
    try:
        connection.execute(text.encode())
    except psycopg.Error as error:
        raise MigrationError(_describe(path, text, error)) from error


def _describe(path: Path, text: str, error: psycopg.Error) -> str:
    place = str(path)
    if error.diag.statement_position:
        line = text.count("\n", 0, int(error.diag.statement_position) - 1) + 1
        place = f"{path}:{line}"
    parts = [f"{place}: {error.diag.message_primary or error}"]
    for label, value in (
        ("detail", error.diag.message_detail),
        ("hint", error.diag.message_hint),
        ("where", error.diag.context),
    ):
        if value:
            parts.append(f"  {label}: {value}")
    return "\n".join(parts)
