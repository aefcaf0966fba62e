"""What a client keeps, in one SQLite file: its copy of the rows, how far it is, and its queue of edits.

A page of changes and the cursor behind it are one transaction, so that a client that dies goes on where it
was. A snapshot is read beside the copy and takes its place in one step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from worker.errors import NotYours
from worker.gateway.exact import decoded, encoded
from worker.gateway.pms import Change, Cursor, Outcome, StoredRow

Operation = Literal["insert", "update", "delete"]
PENDING: Final = "pending"
_SETTLED_KEPT: Final = 1000
_MUCH: Final = 1 << 20
_SCHEMA: Final = """
create table if not exists facts (name text primary key, value text) without rowid;
create table if not exists copies (
  entity text, id text, version integer not null, body blob not null, primary key (entity, id)
) without rowid;
create table if not exists fresh (
  entity text, id text, version integer not null, body blob not null, primary key (entity, id)
) without rowid;
create table if not exists edits (
  number integer primary key autoincrement, id text not null unique,
  entity text not null, entity_id text not null, operation text not null,
  base_version integer, edit blob not null, stamp text not null,
  sent integer not null default 0, seen integer not null default 0,
  status text not null default 'pending', version integer, error blob
);
create index if not exists edits_of on edits (entity_id);
create index if not exists edits_pending on edits (number) where status = 'pending';
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit in the queue. `sent`: the server has it, as far as is known. `seen`: the copy holds what it
    made. `status`, `version`, `error`: what became of it, once that is known."""

    id: str
    entity: str
    entity_id: str
    operation: Operation
    base_version: int | None
    edit: dict[str, Any]
    stamp: str
    sent: bool = False
    seen: bool = False
    status: str = PENDING
    version: int | None = None
    error: dict[str, Any] | None = None

    def pushed(self) -> dict[str, Any]:
        """As `push_changes` takes it."""
        return {
            "id": self.id,
            "entity": self.entity,
            "entity_id": self.entity_id,
            "operation": self.operation,
            "base_version": self.base_version,
            "edit": self.edit,
            "stamp": self.stamp,
        }


class SqliteStore:
    """Of one copy of one user; not to be shared between threads or processes. `path` None: in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        if path is not None:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")  # an edit that was taken must outlive the power
        self._db.executescript(_SCHEMA)
        known = dict(self._db.execute("select name, value from facts"))
        self._cursor = Cursor.parse(known["cursor"]) if "cursor" in known else None
        self._entities = frozenset(known.get("entities", "").split())

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    # -- the copy --------------------------------------------------------------------------------------------

    @property
    def cursor(self) -> Cursor | None:
        """How far the copy is."""
        return self._cursor

    @property
    def entities(self) -> frozenset[str]:
        """What was kept when the copy was begun: of what is wanted what could be read."""
        return self._entities

    def belong_to(self, owner: str) -> None:
        """Raises `NotYours` when the copy is somebody else's; nobody's becomes the owner's."""
        known = self._one("select value from facts where name = 'owner'")
        if known is None:
            self._note("owner", owner)
        elif known[0] != owner:
            raise NotYours(f"this copy belongs to {known[0]}, not to {owner}: give each of them a store")

    def keep(self, entities: Iterable[str]) -> None:
        """Says what is wanted; a copy of something else is begun anew."""
        wanted = " ".join(sorted(entities))
        known = self._one("select value from facts where name = 'wanted'")
        if known is not None and known[0] == wanted:
            return
        with self._transaction():
            self._db.execute("delete from facts where name = 'cursor'")
            self._note("wanted", wanted)
        self._cursor = None

    def version(self, entity: str, entity_id: str) -> int | None:
        found = self._one("select version from copies where entity = ? and id = ?", entity, entity_id)
        return None if found is None else int(found[0])

    def row(self, entity: str, entity_id: str) -> dict[str, Any] | None:
        found = self._one("select body from copies where entity = ? and id = ?", entity, entity_id)
        return None if found is None else decoded(found[0])

    def rows(self, entity: str) -> Iterator[dict[str, Any]]:
        """By id."""
        for (body,) in self._db.execute("select body from copies where entity = ? order by id", (entity,)):
            yield decoded(body)

    def versions(self, entity: str) -> dict[str, int]:
        """Of every row, in the order of ids."""
        query = "select id, version from copies where entity = ? order by id"
        return dict(self._db.execute(query, (entity,)))

    def take_page(self, changes: Iterable[Change], cursor: Cursor) -> None:
        """Takes what happened up to `cursor`, each row by its version."""
        with self._transaction():
            for change in changes:
                if change.command_id is not None:
                    self._db.execute("update edits set seen = 1 where id = ?", (change.command_id,))
                if change.gone:
                    self._db.execute(
                        "delete from copies where entity = ? and id = ? and version < ?",
                        (change.entity, change.entity_id, change.version),
                    )
                else:
                    self._take("copies", change.entity, change.entity_id, change.version, change.body)
            self._note("cursor", str(cursor))
        self._cursor = cursor

    def take_rows(self, entity: str, rows: Iterable[StoredRow], gone: Iterable[str] = ()) -> None:
        """Takes rows as they are, whatever the copy has."""
        with self._transaction():
            self._db.executemany(
                "insert or replace into copies values (?, ?, ?, ?)",
                [(entity, row.id, row.version, row.body) for row in rows],
            )
            self._db.executemany(
                "delete from copies where entity = ? and id = ?", [(entity, each) for each in gone]
            )

    def begin_snapshot(self) -> None:
        self._db.execute("delete from fresh")

    def take_snapshot_rows(self, entity: str, rows: Iterable[StoredRow]) -> None:
        with self._transaction():
            for row in rows:
                self._take("fresh", entity, row.id, row.version, row.body)

    def end_snapshot(self, cursor: Cursor, entities: frozenset[str]) -> None:
        """What was read takes the place of the copy; `entities` are in it."""
        with self._transaction():
            self._db.execute("delete from copies")
            self._db.execute("insert into copies select * from fresh")
            self._db.execute("delete from fresh")
            self._db.execute("update edits set seen = 1 where status <> 'pending'")
            self._note("entities", " ".join(sorted(entities)))
            self._note("cursor", str(cursor))
        self._cursor, self._entities = cursor, entities

    # -- the queue -------------------------------------------------------------------------------------------

    def add(self, edit: Edit) -> None:
        self._db.execute(
            "insert into edits (id, entity, entity_id, operation, base_version, edit, stamp)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                edit.id,
                edit.entity,
                edit.entity_id,
                edit.operation,
                edit.base_version,
                encoded(edit.edit),
                edit.stamp,
            ),
        )

    @property
    def last_stamp(self) -> str | None:
        """Of the last edit."""
        found = self._one("select stamp from edits order by number desc limit 1")
        return None if found is None else str(found[0])

    def unsent(self, limit: int) -> list[Edit]:
        """The first, in the order in which they were made; not many of those that are large."""
        first = "where status = 'pending' and not sent order by number limit ?"
        sizes = self._db.execute(f"select length(edit) from edits {first}", (limit,))  # noqa: S608 - ours
        many = sum(size <= _MUCH for size in accumulate(each for (each,) in sizes))
        return self._edits(first, min(limit, max(many, 1)))

    def unsettled(self, limit: int) -> list[Edit]:
        """The first that were sent, and of which nothing is known."""
        return self._edits("where status = 'pending' and sent order by number limit ?", limit)

    def on(self, entity: str, entity_id: str) -> list[Edit]:
        """Those of one row, in the order in which they were made."""
        return self._edits("where entity = ? and entity_id = ? order by number", entity, entity_id)

    @property
    def pending(self) -> int:
        """Edits of which it is not known what became of them."""
        found = self._one("select count(*) from edits where status = 'pending'")
        return 0 if found is None else int(found[0])

    def find(self, edit_id: str) -> Edit | None:
        return next(iter(self._edits("where id = ?", edit_id)), None)

    def edited(self, entity: str) -> list[str]:
        """Rows with edits in the queue."""
        query = "select distinct entity_id from edits where entity = ?"
        return [found for (found,) in self._db.execute(query, (entity,))]

    def mark_sent(self, edit_ids: Sequence[str]) -> None:
        with self._transaction():
            self._db.executemany("update edits set sent = 1 where id = ?", [(each,) for each in edit_ids])

    def forget_the_server(self) -> None:
        """It was restored: nobody knows what it has of the edits, nor what their versions meant. Those that
        it may have are pushed as they were, to be known again; the others have no base."""
        with self._transaction():
            self._db.execute(
                "update edits set base_version = null"
                " where status = 'pending' and not sent and operation <> 'insert'"
            )
            self._db.execute("update edits set sent = 0 where status = 'pending'")

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Notes what became of edits; of those that are settled the last thousand are remembered,
        and of those that were refused the last ten thousand."""
        with self._transaction():
            self._db.executemany(
                "update edits set sent = 1, status = ?, version = ?, error = ? where id = ?",
                [
                    (each.status, each.version, None if each.error is None else encoded(each.error), each.id)
                    for each in outcomes
                ],
            )
            self._db.execute(
                "delete from edits where status <> 'pending'"
                " and number <= (select max(number) from edits) - ?"
                " * (case status when 'rejected' then 10 else 1 end)"
                " and not exists (select 1 from copies c where c.entity = edits.entity"
                " and c.id = entity_id and c.version < edits.version)",
                (_SETTLED_KEPT,),
            )

    def _note(self, name: str, value: str) -> None:
        self._db.execute("insert or replace into facts values (?, ?)", (name, value))

    def _take(self, table: str, entity: str, entity_id: str, version: int, body: bytes) -> None:
        self._db.execute(
            f"insert into {table} values (?, ?, ?, ?) on conflict (entity, id) do update"  # noqa: S608 - ours
            " set version = excluded.version, body = excluded.body where excluded.version > version",
            (entity, entity_id, version, body),
        )

    def _edits(self, where: str, *values: object) -> list[Edit]:
        columns = (
            "id, entity, entity_id, operation, base_version, edit, stamp, sent, seen, status, version, error"
        )
        query = f"select {columns} from edits {where}"  # noqa: S608 - ours
        return [
            Edit(
                id=each[0],
                entity=each[1],
                entity_id=each[2],
                operation=each[3],
                base_version=each[4],
                edit=decoded(each[5]),
                stamp=each[6],
                sent=bool(each[7]),
                seen=bool(each[8]),
                status=each[9],
                version=each[10],
                error=None if each[11] is None else decoded(each[11]),
            )
            for each in self._db.execute(query, values)
        ]

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
