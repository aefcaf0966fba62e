"""Slices of the matrix: actor by action by tenant. Each yields what differs from permissions.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.access.catalogue import Function, Table
from tests.access.permissions import ACTIONS, ACTORS, MEMBERS, OUTSIDERS, Permissions, may
from tests.access.probe import ALLOWED, DENIED, try_function, try_table
from tests.access.scene import Scene, Session


def table_slice(
    db: Session,
    scene: Scene,
    permissions: Permissions,
    table: Table,
    actions: Iterable[str] = ACTIONS,
) -> Iterator[str]:
    for action in actions:
        allowed = permissions.tables[table.name][action]
        for own in (True, False):
            for actor in ACTORS:
                outcome = try_table(db, scene, actor, table, action, scene.own if own else scene.other)
                yield from _differs(f"{actor} {action} {table.name}", allowed, actor, own, outcome)


def moving_slice(db: Session, scene: Scene, table: Table) -> Iterator[str]:
    """Nobody makes a row another tenant's."""
    for actor in MEMBERS:
        if (outcome := try_table(db, scene, actor, table, "move", scene.other)) != DENIED:
            yield f"{actor} move {table.name}: {outcome}, expected denied"


def outsider_slice(db: Session, scene: Scene, table: Table) -> Iterator[str]:
    """Whoever is no member is kept out, whatever the permissive policies say."""
    for action in ACTIONS:
        for actor in OUTSIDERS:
            if (outcome := try_table(db, scene, actor, table, action, scene.own)) != DENIED:
                yield f"{actor} {action} {table.name}: {outcome}, expected denied"


def command_slice(
    db: Session,
    scene: Scene,
    permissions: Permissions,
    functions: Iterable[Function],
) -> Iterator[str]:
    for function in functions:
        allowed = permissions.commands[function.name]
        for own in (True, False):
            for actor in ACTORS:
                outcome = try_function(db, scene, actor, function, scene.own if own else scene.other)
                yield from _differs(f"{actor} {function.name}", allowed, actor, own, outcome)


def _differs(what: str, allowed: frozenset[str], actor: str, own: bool, outcome: str) -> Iterator[str]:
    expected = ALLOWED if may(allowed, actor, own=own) else DENIED
    if outcome != expected:
        yield f"{what} in {'their' if own else 'the other'} tenant: {outcome}, expected {expected}"
