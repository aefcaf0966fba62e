"""The Supabase project in supabase/: its config.toml and its migrations, read as the CLI reads them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack.errors import ProjectError
from tests.stack.paths import SUPABASE

MIGRATION = re.compile(r"^([0-9]+)_(.*)\.sql$")


@dataclass(frozen=True)
class Function:
    name: str
    entrypoint: Path
    verify_jwt: bool
    import_map: Path | None


@dataclass(frozen=True)
class Migration:
    version: str
    name: str
    path: Path


@dataclass(frozen=True)
class Project:
    schemas: tuple[str, ...]
    extra_search_path: tuple[str, ...]
    max_rows: int
    jwt_expiry: int
    functions: tuple[Function, ...]
    migrations: tuple[Migration, ...]
    seed: Path | None


def read_project(folder: Path = SUPABASE) -> Project:
    """Raises `ProjectError` naming the key that is missing or wrong."""
    config_file = folder / "config.toml"
    try:
        config = tomllib.loads(config_file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{config_file}: {error}") from error
    api = config.get("api", {})
    seed = folder / "seed.sql"
    return Project(
        schemas=_texts(api, "schemas", ["public", "graphql_public"]),
        extra_search_path=_texts(api, "extra_search_path", ["public", "extensions"]),
        max_rows=int(api.get("max_rows", 1000)),
        jwt_expiry=int(config.get("auth", {}).get("jwt_expiry", 3600)),
        functions=tuple(
            _function(folder, name, entry) for name, entry in config.get("functions", {}).items()
        ),
        migrations=_migrations(folder / "migrations"),
        seed=seed if seed.is_file() else None,
    )


def _texts(section: dict[str, Any], key: str, default: list[str]) -> tuple[str, ...]:
    value = section.get(key, default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ProjectError(f"config.toml: [api] {key} must be a list of texts, not {value!r}")
    return tuple(value)


def _function(folder: Path, name: str, entry: dict[str, Any]) -> Function:
    entrypoint = (folder / entry.get("entrypoint", f"functions/{name}/index.ts")).resolve()
    if not entrypoint.is_file():
        raise ProjectError(f"config.toml: [functions.{name}] entrypoint does not exist: {entrypoint}")
    import_map = (folder / entry["import_map"]).resolve() if "import_map" in entry else None
    return Function(name, entrypoint, bool(entry.get("verify_jwt", True)), import_map)


def _migrations(folder: Path) -> tuple[Migration, ...]:
    found = []
    for path in sorted(folder.glob("*.sql"), key=lambda path: path.name):
        if match := MIGRATION.match(path.name):
            found.append(Migration(match[1], match[2], path))
    versions = [migration.version for migration in found]
    if twice := {version for version in versions if versions.count(version) > 1}:
        raise ProjectError(f"two migrations share a version: {sorted(twice)}")
    return tuple(found)
