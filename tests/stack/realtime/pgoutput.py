"""Decodes Postgres' logical replication messages (protocol version 1, text values).

Source: https://www.postgresql.org/docs/17/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
Action = Literal["INSERT", "UPDATE", "DELETE"]


class Unchanged:
    """Stands for a TOASTed value that the change did not touch and the log therefore does not hold."""


UNCHANGED = Unchanged()
Value = str | None | Unchanged


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type_oid: int
    is_key: bool
    """Part of the replica identity."""


@dataclass(frozen=True, slots=True)
class Relation:
    oid: int
    schema: str
    table: str
    identity: str
    """`d` default, `n` nothing, `f` full, `i` index."""
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """`old` is the identity (or the whole old row with identity full), None when the log has none."""

    relation: Relation
    action: Action
    committed_at: datetime
    new: dict[str, Value] | None
    old: dict[str, Value] | None
    size: int
    """Bytes of the message."""


class Decoder:
    """Keeps the relations that the stream described and the commit time of the open transaction."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._committed_at = POSTGRES_EPOCH

    def feed(self, message: bytes) -> Change | None:
        """The row change in `message`, None for everything else: the real server passes over TRUNCATE too."""
        reader = _Reader(message)
        kind = reader.char()
        if kind == "B":
            self._committed_at = _begin(reader)
        elif kind == "R":
            relation = _relation(reader)
            self._relations[relation.oid] = relation
        elif kind in "IUD":
            return self._change(kind, reader, len(message))
        return None

    def _change(self, kind: str, reader: _Reader, size: int) -> Change:
        relation = self._relations[reader.int32()]
        old = new = None
        action: Action = "INSERT" if kind == "I" else "UPDATE" if kind == "U" else "DELETE"
        while not reader.done:
            match reader.char():
                case "N":
                    new = _tuple(reader, relation, keys_only=False)
                case "K":
                    old = _tuple(reader, relation, keys_only=True)
                case "O":
                    old = _tuple(reader, relation, keys_only=False)
        return Change(relation, action, self._committed_at, new, old, size)


class _Reader:
    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def done(self) -> bool:
        return self._offset >= len(self._data)

    def char(self) -> str:
        return self.take(1).decode("ascii")

    def int16(self) -> int:
        return int(struct.unpack(">h", self.take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def int64(self) -> int:
        return int(struct.unpack(">q", self.take(8))[0])

    def string(self) -> str:
        end = self._data.index(b"\0", self._offset)
        text = self._data[self._offset : end].decode()
        self._offset = end + 1
        return text

    def take(self, length: int) -> bytes:
        part = self._data[self._offset : self._offset + length]
        if len(part) != length:
            raise ValueError("a replication message ends early")
        self._offset += length
        return part


def _begin(reader: _Reader) -> datetime:
    reader.int64()  # the final position
    return POSTGRES_EPOCH + timedelta(microseconds=reader.int64())


def _relation(reader: _Reader) -> Relation:
    oid, schema, table, identity = reader.int32(), reader.string(), reader.string(), reader.char()
    columns = []
    for _ in range(reader.int16()):
        flags, name, type_oid = reader.take(1)[0], reader.string(), reader.int32()
        reader.int32()  # the type modifier, which the real server forgets as well
        columns.append(Column(name, type_oid, bool(flags & 1)))
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _tuple(reader: _Reader, relation: Relation, *, keys_only: bool) -> dict[str, Value]:
    values: dict[str, Value] = {}
    reader.int16()  # the number of columns, which the relation told
    for column in relation.columns:
        value: Value
        match reader.char():
            case "n":
                value = None
            case "u":
                value = UNCHANGED
            case _:
                value = reader.take(reader.int32()).decode()
        if column.is_key or not keys_only:
            values[column.name] = value
    return values
