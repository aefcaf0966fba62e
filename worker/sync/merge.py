"""The three-way merge, field by field. Pure: what was, what is, what a client did -> what is to be written.

A field that only one side changed since the edit's base is taken as it is. What both changed is decided by
the field's policy; every such decision is told, and what that leaves to people stays as the server has it.

    last_write    the later stamp wins        server_wins   the server's stays
    counter       deltas add up               client_wins   the edit's is taken
    set           each element by its stamp   manual        open until a person decides
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, assert_never

from worker.sync.edit import (
    NESTED,
    Delta,
    Edit,
    Fields,
    Members,
    Operation,
    Put,
    applied,
    elements,
    is_set,
    same,
)
from worker.sync.stamp import Stamp

Policy = Literal["last_write", "counter", "set", "server_wins", "client_wins", "manual"]
Winner = Literal["ours", "theirs", "both"]
"""The server's, the edit's; both: they did not exclude each other."""

NEVER: Final = Stamp(0)
_BETWEEN: Final = "\x1f"
"""Stands in no field's name."""
DELETED: Final = "deleted_at"
"""The field that a deletion sets; its policy decides deletions against updates."""


class EditRefused(ValueError):
    """An edit that its field's policy does not take; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server has. `base`: the fields as the client knew them, None when nobody knows any more.
    `touched`: fields that were written after the base, and when; elements of sets under `element_key`.
    `written`: when the row was last."""

    fields: Fields
    base: Fields | None
    touched: Mapping[str, Stamp]
    written: Stamp = NEVER

    @property
    def deleted(self) -> bool:
        return self.fields.get(DELETED) is not None

    def changed(self, name: str) -> bool:
        """Whether the field may be another than the edit was made to."""
        return self.base is None or name in self.touched

    def stamp_of(self, name: str) -> Stamp:
        """When the field was last written, as far as that is known to be after the base."""
        return self.touched.get(name, self.written if self.base is None else NEVER)


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a field that both sides changed. `winner` None: open."""

    field: str
    policy: Policy
    base: Any
    ours: Any
    theirs: Any
    winner: Winner | None


@dataclass(slots=True)
class Merge:
    """What is to be written. `deltas` are counters, to be moved by so much; `stamps`: when what is kept of
    the edit was made, for later merges. `restore`: the row is deleted, and comes back first."""

    patch: dict[str, Any] = field(default_factory=dict)
    deltas: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    restore: bool = False
    delete: bool = False

    @property
    def open(self) -> bool:
        return any(decision.winner is None for decision in self.decisions)


def element_key(name: str, element: str) -> str:
    """What an element of a set is stamped under."""
    return f"{name}{_BETWEEN}{element}"


def is_element(key: str) -> bool:
    return _BETWEEN in key


class Policies:
    """Which policy a field has: its own, or its entity's for all others (`*`)."""

    def __init__(self, told: Mapping[str, Policy]) -> None:
        self._told = told

    def of(self, name: str) -> Policy:
        return self._told.get(name) or self._told.get("*", "last_write")


def merge(server: Server, edit: Edit, stamp: Stamp, policies: Policies) -> Merge:
    """Merges an update. Raises `EditRefused` for an edit that is no way to change its field."""
    for name, operation in edit.items():
        _check(name, operation, policies.of(name))
    merged = Merge()
    if server.deleted:
        merged.decisions.append(_deleted_meanwhile(server, edit, stamp, policies))
        merged.restore = merged.decisions[0].winner == "theirs"
        if not merged.restore:
            return merged
    for name, operation in edit.items():
        _merge_field(_Field(name, policies.of(name), operation, server, stamp), merged)
    return merged


def _check(name: str, operation: Operation, policy: Policy) -> None:
    if name == NESTED:
        raise EditRefused(f"{NESTED} are edited key by key, as {NESTED}.<key>")
    if policy == "counter" and not isinstance(operation, Delta):
        raise EditRefused(f"{name} is a counter: it is moved by a delta, never set")
    if policy != "counter" and isinstance(operation, Delta):
        raise EditRefused(f"{name} is no counter: a delta does not say what it is to be")


def merge_deletion(server: Server, stamp: Stamp, policies: Policies) -> Merge:
    """Merges a deletion: what somebody changed since may speak against it."""
    if server.deleted:
        return Merge()
    changed = sorted(name for name in server.touched if not is_element(name))
    if server.base is not None and not changed:
        return Merge(delete=True)
    policy = policies.of(DELETED)
    latest = max((server.touched[name] for name in changed), default=server.written)
    winner = _winner(policy, theirs=stamp, ours=latest)
    ours = {name: server.fields.get(name) for name in changed}
    base = None if server.base is None else {name: server.base.get(name) for name in changed}
    return Merge(
        delete=winner == "theirs",
        decisions=[Decision(DELETED, policy, base, ours, {"deleted": True}, winner)],
    )


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    policy: Policy
    operation: Operation
    server: Server
    stamp: Stamp

    @property
    def base(self) -> Any:
        return None if self.server.base is None else self.server.base.get(self.name)

    @property
    def ours(self) -> Any:
        return self.server.fields.get(self.name)

    @property
    def changed(self) -> bool:
        return self.server.changed(self.name)

    @property
    def known(self) -> Any:
        """The value that the edit's author knew; ours, if nobody knows which that was."""
        return self.ours if self.server.base is None else self.base

    @property
    def theirs(self) -> Any:
        """What the edit makes of the value that its author knew."""
        return applied(self.operation, self.known)

    def decided(self, winner: Winner | None) -> Decision:
        theirs = {"delta": self.operation.by} if isinstance(self.operation, Delta) else self.theirs
        return Decision(self.name, self.policy, self.base, self.ours, theirs, winner)


def _merge_field(it: _Field, merged: Merge) -> None:
    known = is_set(it.ours) and is_set(it.base)
    match it.operation:
        case Delta(by):
            merged.deltas[it.name] = by
            if it.changed:
                merged.decisions.append(it.decided("both"))
        case Members() as members if not known:
            raise EditRefused(f"{it.name} is no list of texts: nothing can be added or removed")
        case Members() as members if it.policy == "set":
            _merge_members(it, members, merged)
        case Put(list() as value) if it.policy == "set" and known and is_set(value):
            before, after = elements(it.known), elements(value)
            _merge_members(it, Members(after - before, before - after), merged)
        case _:
            _merge_value(it, merged)


def _merge_value(it: _Field, merged: Merge) -> None:
    if it.server.base is not None and same(it.theirs, it.base):
        return  # it changed nothing then, and is no reason to change anything now
    if same(it.theirs, it.ours):
        # nobody is overruled; if both did the same, the later of the two is when
        latest = max(it.stamp, it.server.stamp_of(it.name))
        if latest.client:  # else it is known from the row
            merged.stamps[it.name] = latest
        return
    winner: Winner | None = "theirs"
    if it.changed:
        winner = _winner(it.policy, theirs=it.stamp, ours=it.server.stamp_of(it.name))
        merged.decisions.append(it.decided(winner))
    if winner == "theirs":
        merged.patch[it.name] = it.theirs
        merged.stamps[it.name] = it.stamp


def _merge_members(it: _Field, members: Members, merged: Merge) -> None:
    """Each element is a field of its own, in the set or not, of which the last write counts."""
    ours, base = elements(it.ours), elements(it.known)
    result, overruled = set(ours), False
    for element in sorted((members.add - base) | (members.remove & base)):
        wanted = element in members.add
        key = element_key(it.name, element)
        written = it.server.touched.get(key)
        if written is None and it.changed and (element in ours) != (element in base):
            written = it.server.stamp_of(it.name)
        if written is not None and written > it.stamp:
            overruled = overruled or wanted != (element in ours)
        else:
            merged.stamps[key] = it.stamp
            (result.add if wanted else result.discard)(element)
    if result != ours:
        merged.patch[it.name] = sorted(result)
    if it.changed and (overruled or result != ours):
        merged.decisions.append(it.decided("ours" if result == ours else "both"))


def _deleted_meanwhile(server: Server, edit: Edit, stamp: Stamp, policies: Policies) -> Decision:
    """Whether an edit of a row that was deleted since brings it back."""
    if not server.changed(DELETED):
        raise EditRefused("the row was deleted before it was edited")
    policy = policies.of(DELETED)
    winner = _winner(policy, theirs=stamp, ours=server.stamp_of(DELETED))
    base = server.base or {}
    theirs = {name: applied(operation, base.get(name)) for name, operation in edit.items()}
    return Decision(DELETED, policy, None, server.fields.get(DELETED), theirs, winner)


def _winner(policy: Policy, *, theirs: Stamp, ours: Stamp) -> Winner | None:
    match policy:
        case "manual":
            return None
        case "server_wins":
            return "ours"
        case "client_wins":
            return "theirs"
        case "last_write" | "counter" | "set":
            return "theirs" if theirs > ours else "ours"
        case _:
            assert_never(policy)
