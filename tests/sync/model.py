"""The server's side of sync as plain Python: what a million interleavings run against.

It keeps what the database keeps (rows, former states, stamps, pushed changes, conflicts, outbox and log)
and does with it what the functions of supabase/migrations/…_sync_*.sql do; the merge is the worker's own.
tests/sync/test_model.py plays the same histories here and there, and finds no difference.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from worker.errors import Refused
from worker.gateway.changes import PendingChange
from worker.gateway.exact import encoded
from worker.gateway.pms import Change, Outcome, StoredRow
from worker.sync.edit import fields_of
from worker.sync.merge import is_element
from worker.sync.merging import Write, policies_of, write_of

POLICIES: Final[Mapping[str, Mapping[str, str]]] = {
    "product": {
        "*": "last_write",
        "price": "manual",
        "attributes.tags": "set",
        "attributes.brand": "server_wins",
        "attributes.color": "client_wins",
        "deleted_at": "manual",
    },
    "stock_level": {"*": "last_write", "on_hand": "counter"},
}
UNTOLD: Final = ("version", "updated_at", "attributes")
Key = tuple[str, str]
"""Entity and id."""


@dataclass(slots=True)
class Written:
    """A state of a row, from when on, and by which command."""

    version: int
    state: dict[str, Any]
    millis: int
    command: str | None


@dataclass(slots=True)
class Pushed:
    change: dict[str, Any]
    client: str
    seq: int
    status: str = "pending"
    version: int | None = None
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Decided:
    """A row of `sync_conflicts`."""

    id: str
    change_id: str
    entity: str
    entity_id: str
    field: str
    policy: str
    base: Any
    ours: Any
    theirs: Any
    winner: str | None


@dataclass(slots=True)
class Wall:
    """A clock on somebody's wall; time passes when somebody says so. `drift`: how wrong it is, in ms."""

    true: Wall | None = None
    drift: int = 0
    millis: int = 1_764_201_600_000

    def now(self) -> datetime:
        return datetime.fromtimestamp((self.true or self).millis / 1000 + self.drift / 1000, UTC)


@dataclass(slots=True)
class Server:
    clock: Wall = field(default_factory=Wall)
    policies: dict[str, dict[str, str]] = field(
        default_factory=lambda: {entity: dict(told) for entity, told in POLICIES.items()}
    )
    rows: dict[Key, list[Written]] = field(default_factory=dict)
    changes: dict[str, Pushed] = field(default_factory=dict)
    waiting: dict[str, Pushed] = field(default_factory=dict)
    conflicts: list[Decided] = field(default_factory=list)
    stamps: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    outbox: list[Change] = field(default_factory=list)
    log: list[Change] = field(default_factory=list)
    first: int = 1
    """The first number of the log that is kept."""
    graves: dict[Key, list[Written]] = field(default_factory=dict)
    """Rows that were removed for good."""

    # -- rows ------------------------------------------------------------------------------------------------

    def row(self, key: Key) -> dict[str, Any] | None:
        written = self.rows.get(key)
        return written[-1].state if written else None

    def stored(self, key: Key) -> StoredRow:
        state = self.rows[key][-1].state
        return StoredRow(key[1], state["version"], encoded(state))

    def add(self, entity: str, entity_id: str, state: Mapping[str, Any], command: str | None = None) -> int:
        self.rows[entity, entity_id] = []
        return self._write((entity, entity_id), dict(state), command)

    def update(self, key: Key, fields: Mapping[str, Any], command: str | None = None) -> int:
        """Fields as an edit names them; a null attribute goes."""
        before = self.rows[key][-1].state
        after = {**before, **{name: value for name, value in fields.items() if "." not in name}}
        if any("." in name for name in fields):
            attributes = dict(before["attributes"])
            attributes |= {name.partition(".")[2]: value for name, value in fields.items() if "." in name}
            after["attributes"] = {name: value for name, value in attributes.items() if value is not None}
        return self._write(key, after, command) if after != before else int(before["version"])

    def remove(self, key: Key) -> None:
        """For good."""
        self.graves[key] = self.rows.pop(key)
        last = self.graves[key][-1]
        self._tell(key, last.version + 1, last.state, None, gone=True)

    def _write(self, key: Key, state: dict[str, Any], command: str | None) -> int:
        versions = self.rows[key]
        version = versions[-1].version + 1 if versions else 1
        now = self.clock.now()
        state |= {"id": key[1], "version": version, "updated_at": now.isoformat()}
        versions.append(Written(version, state, int(now.timestamp() * 1000), command))
        self._tell(key, version, state, command)
        return version

    def _tell(
        self, key: Key, version: int, state: dict[str, Any], command: str | None, *, gone: bool = False
    ) -> None:
        self.outbox.append(
            Change(0, *key, version, command, self.clock.now().isoformat(), encoded(state), gone)
        )

    # -- the log ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        return self.first - 1 + len(self.log)

    def dispatch(self, limit: int | None = None) -> None:
        some = self.outbox[:limit]
        del self.outbox[: len(some)]
        for number, it in enumerate(some, self.head + 1):
            self.log.append(
                Change(
                    number,
                    it.entity,
                    it.entity_id,
                    it.version,
                    it.command_id,
                    it.timestamp,
                    it.body,
                    it.gone,
                )
            )

    def forget(self) -> None:
        """Retention takes the whole log."""
        self.first = self.head + 1
        self.log.clear()

    # -- pushed changes --------------------------------------------------------------------------------------

    def push(self, client: str, changes: Iterable[dict[str, Any]]) -> list[Outcome]:
        known = []
        for change in changes:
            pushed = self.changes.get(change["id"])
            if pushed is None:
                pushed = Pushed(change, client, len(self.changes))
                self.changes[change["id"]] = self.waiting[change["id"]] = pushed
            elif pushed.change != change:
                raise Refused("sync.change_id_reused")
            known.append(Outcome(change["id"], pushed.status))
        return known

    def merged(self, limit: int = 200) -> list[Write]:
        """What `sync.work` reads and makes of it."""
        first: dict[str, Pushed] = {}
        for pushed in list(self.waiting.values())[:limit]:
            first.setdefault(pushed.change["entity_id"], pushed)
        now = self.clock.now()
        policies = {entity: policies_of(told) for entity, told in self.policies.items()}
        return [write_of(self._pending(it), policies[it.change["entity"]], now) for it in first.values()]

    def _pending(self, it: Pushed) -> PendingChange:
        change = it.change
        key = (change["entity"], change["entity_id"])
        base, touched, own = self._since(key, change["base_version"], it.client)
        stamps = [
            (name, version, stamp)
            for (entity_id, name), (version, stamp) in self.stamps.items()
            if entity_id == key[1] and name.partition("\x1f")[0] in change["edit"]
        ]
        return PendingChange(
            **change,
            principal_id="p",
            pushed_at=self.clock.now(),
            row=self.row(key),
            base=base,
            touched=touched,
            own=own,
            stamps=stamps,
            unfit=False,
        )

    def _since(
        self, key: Key, base_version: int | None, client: str
    ) -> tuple[dict[str, Any] | None, list[tuple[str, int, int]], list[dict[str, Any]]]:
        versions = self.rows.get(key, [])
        base = next((it.state for it in versions if it.version == base_version), None)
        if key[0] == "stock_level":
            others = [it for it in versions if it.version > (base_version or 0) and not self._own(it, client)]
            return (None if others else base), [], []
        last: dict[str, tuple[Written, bool]] = {}
        for old, new in pairwise(versions):
            if new.version > (base_version or 0):
                for name in changed_fields(old.state, new.state):
                    last[name] = (new, self._own(new, client))
        touched = [(name, it.version, it.millis) for name, (it, own) in last.items() if not own]
        edits = [
            it.change["edit"]
            for it in self.changes.values()
            if it.client == client
            and it.change["entity_id"] == key[1]
            and (it.version or 0) > (base_version or 0)
        ]
        return base, touched, edits

    def _own(self, written: Written, client: str) -> bool:
        pushed = self.changes.get(written.command or "")
        return pushed is not None and pushed.client == client

    def apply(self, writes: Sequence[Write]) -> list[str]:
        """What `apply_changes` does; the outcomes."""
        return [self._apply(write) for write in writes]

    def _apply(self, write: Write) -> str:
        pushed = self.waiting.get(write["change_id"])
        if pushed is None:
            return "gone"
        if write["error"] is not None:
            self._settle(pushed, "rejected", None, write["error"])
            return "rejected"
        key = (write["entity"], write["entity_id"])
        if write["action"] == "insert" and key in self.rows:
            self._settle(pushed, "rejected", None, {"code": "23505"})
            return "rejected"
        if write["action"] in ("update", "delete") and key not in self.rows:
            self._settle(pushed, "rejected", None, {"code": f"{key[0]}.not_found"})
            return "rejected"
        if self._is_stale(key, write):
            return "stale"
        self._settle(pushed, write["status"], self._written(key, write))
        for told in write["decisions"]:
            self.conflicts.append(Decided(str(uuid.uuid4()), write["change_id"], *key, **told))
        version = pushed.version
        if version is not None:
            for name, stamp in write["stamps"].items():
                self.stamps[key[1], name] = (version, stamp)
        return "written"

    def _is_stale(self, key: Key, write: Write) -> bool:
        by_version = write["action"] == "delete" or write["restore"] or write["fields"]
        if write["action"] in ("none", "insert") or not by_version:
            return False
        row = self.row(key)
        return row is not None and row["version"] != write["version"]

    def _written(self, key: Key, write: Write) -> int | None:
        """The row's version then."""
        command: str = write["change_id"]
        version: int | None = write["version"]
        match write["action"]:
            case "insert":
                blank = {"description": "", "price": 0, "attributes": {}, "deleted_at": None}
                self.rows[key] = []
                return self._write(key, _laid_over(blank, write["fields"]), command)
            case "delete":
                return self.update(key, {"deleted_at": self.clock.now().isoformat()}, command)
            case "update":
                if write["restore"]:
                    version = self.update(key, {"deleted_at": None}, command)
                if write["fields"]:
                    version = self.update(key, write["fields"], command)
                if write["deltas"]:
                    on_hand = self.rows[key][-1].state["on_hand"] + write["deltas"]["on_hand"]
                    version = self.update(key, {"on_hand": on_hand}, command)
        return version

    def _settle(
        self, pushed: Pushed, status: str, version: int | None, error: dict[str, Any] | None = None
    ) -> None:
        pushed.status, pushed.version, pushed.error = status, version, error
        del self.waiting[pushed.change["id"]]

    def resolve(self, conflict: Decided, choice: str) -> None:
        """What `resolve_conflict` does for ours or theirs."""
        key = (conflict.entity, conflict.entity_id)
        if choice == "theirs":
            if conflict.field != "deleted_at":
                self.update(key, {conflict.field: conflict.theirs}, conflict.id)
            elif conflict.theirs == {"deleted": True}:
                self.update(key, {"deleted_at": self.clock.now().isoformat()}, conflict.id)
            else:
                self.update(key, {"deleted_at": None}, conflict.id)
                self.update(key, conflict.theirs, conflict.id)
        conflict.winner = choice
        pushed = self.changes[conflict.change_id]
        if all(it.winner for it in self.conflicts if it.change_id == conflict.change_id):
            pushed.status = "merged"


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = fields_of(old), fields_of(new)
    return [
        name
        for name in before.keys() | after.keys()
        if name not in UNTOLD and not is_element(name) and before.get(name) != after.get(name)
    ]


def _laid_over(row: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {name[11:]: value for name, value in fields.items() if name.startswith("attributes.")}
    plain = {name: value for name, value in fields.items() if not name.startswith("attributes.")}
    return row | plain | {"attributes": {**row["attributes"], **attributes}}
