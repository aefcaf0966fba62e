"""The table permissions.toml, parsed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

MEMBERS = ("owner", "manager", "clerk", "viewer", "integration")
OUTSIDERS = ("rival", "loner", "removed", "anon")
ACTORS = (*MEMBERS, *OUTSIDERS, "service")
ACTIONS = ("select", "insert", "update", "delete")


@dataclass(frozen=True)
class Permissions:
    """`tables`: action by action, who; `commands`: who may call; `open`: functions for the signed-in;
    `shared`: tables that belong to no tenant."""

    tables: dict[str, dict[str, frozenset[str]]]
    commands: dict[str, frozenset[str]]
    open: frozenset[str]
    shared: frozenset[str]


def read_permissions() -> Permissions:
    table = tomllib.loads((Path(__file__).parent / "permissions.toml").read_text())
    return Permissions(
        tables={
            name: {action: _actors(actions.get(action, "")) for action in ACTIONS}
            for name, actions in table["tables"].items()
        },
        commands={name: _actors(words) for name, words in table["commands"].items()},
        open=frozenset(table["open"]["functions"]),
        shared=frozenset(table["shared"]["tables"]),
    )


def may(allowed: frozenset[str], actor: str, *, own: bool) -> bool:
    """Whether an actor may, in tenant A (`own`) or in B, whose owner is the rival."""
    if actor == "service":
        return actor in allowed
    if actor == "rival":
        return not own and "owner" in allowed
    return own and actor in allowed


def _actors(words: str) -> frozenset[str]:
    named = [actor for word in words.split() for actor in (MEMBERS if word == "members" else (word,))]
    assert set(named) <= set(ACTORS), words
    return frozenset(named)
