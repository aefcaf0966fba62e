"""A walsender connection: the logical replication stream of one publication, as it is written.

Source: https://www.postgresql.org/docs/17/protocol-replication.html
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from psycopg import conninfo, generators, pq, sql, waiting

from tests.stack.realtime.pgoutput import POSTGRES_EPOCH

STATUS_INTERVAL_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5
XLOG_DATA, KEEPALIVE = b"w"[0], b"k"[0]
XLOG_HEADER = 25


class ReplicationError(Exception):
    """The stream could not be opened or ended; the message is Postgres' own."""


class ReplicationStream:
    """Hands every pgoutput message to `on_message`, on the event loop, as soon as it is readable."""

    def __init__(self, connection: pq.abc.PGconn, on_message: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._on_message = on_message
        self._received = 0
        self._reported_at = 0.0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Runs until the stream ends, then raises `ReplicationError`."""
        loop = asyncio.get_running_loop()
        socket = self._connection.socket
        loop.add_reader(socket, self._readable)
        try:
            self._readable()  # what arrived together with the answer to START_REPLICATION
            while True:
                await asyncio.wait({self._ended}, timeout=STATUS_INTERVAL_SECONDS)
                if self._ended.done():
                    return self._ended.result()
                self._report()
        finally:
            loop.remove_reader(socket)
            if self._ended.done():
                self._ended.exception()  # retrieved, also when run() was cancelled

    def _readable(self) -> None:
        if self._ended.done():
            return
        try:
            self._connection.consume_input()
            while (message := self._next()) is not None:
                self._handle(message)
        except Exception as error:
            self._ended.set_exception(ReplicationError(str(error).strip() or "the stream ended"))

    def _next(self) -> bytes | None:
        length, data = self._connection.get_copy_data(1)
        if length > 0:
            return bytes(data)
        if length < 0:
            raise ReplicationError(_error(self._connection))
        return None

    def _handle(self, message: bytes) -> None:
        if message[0] == XLOG_DATA:
            start = struct.unpack_from(">q", message, 1)[0]
            self._received = max(self._received, start + len(message) - XLOG_HEADER)
            self._on_message(message[XLOG_HEADER:])
        elif message[0] == KEEPALIVE:
            end, _, reply = struct.unpack_from(">qqB", message, 1)
            self._received = max(self._received, end)
            # Prompt answers let a fast shutdown of Postgres finish.
            if reply or time.monotonic() - self._reported_at > STATUS_INTERVAL_SECONDS:
                self._report()

    def _report(self) -> None:
        now = int((datetime.now(UTC) - POSTGRES_EPOCH).total_seconds() * 1_000_000)
        position = self._received
        self._connection.put_copy_data(struct.pack(">cqqqqB", b"r", position, position, position, now, 0))
        self._connection.flush()
        self._reported_at = time.monotonic()


@asynccontextmanager
async def open_stream(
    url: str, *, slot: str, publication: str, name: str, on_message: Callable[[bytes], None]
) -> AsyncIterator[ReplicationStream]:
    """A stream over a temporary slot, which Postgres drops with the connection.

    Raises `ReplicationError` or `psycopg.Error`. Changes committed from here on are delivered.
    """
    connection = await _connect(url, name)
    try:
        await _start(connection, slot, publication)
        connection.nonblocking = 1
        yield ReplicationStream(connection, on_message)
    finally:
        connection.finish()


async def _connect(url: str, name: str) -> pq.abc.PGconn:
    parameters = conninfo.make_conninfo(
        url,
        replication="database",
        application_name=name,
        options="-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres",
    )
    connecting = generators.connect(parameters)
    return await waiting.wait_conn_async(connecting, timeout=CONNECT_TIMEOUT_SECONDS)


async def _start(connection: pq.abc.PGconn, slot: str, publication: str) -> None:
    quoted = sql.Identifier(slot).as_string()
    # Replication commands, unlike SQL, know their words in upper case only. Making a slot waits for the
    # transactions that are open, however long.
    await _execute(
        connection, f"CREATE_REPLICATION_SLOT {quoted} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')"
    )
    publications = sql.Literal(sql.Identifier(publication).as_string()).as_string()
    options = f"proto_version '1', publication_names {publications}"
    await _execute(connection, f"START_REPLICATION SLOT {quoted} LOGICAL 0/0 ({options})")


async def _execute(connection: pq.abc.PGconn, command: str) -> None:
    connection.send_query(command.encode())
    (result,) = await waiting.wait_async(generators.execute(connection), connection.socket)
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_BOTH):
        raise ReplicationError(_error(connection))


def _error(connection: pq.abc.PGconn) -> str:
    return connection.error_message.decode(errors="replace").strip() or "the stream ended"
