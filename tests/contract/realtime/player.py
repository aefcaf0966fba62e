"""Plays a transcript against a server: does what the recorder did, and expects what the real server answered.

Steps run without the recorder's pauses: a recorded answer is waited for; silence is proved by markers, one
through each path of the server: what was committed before would have come before.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import aiohttp
import psycopg
from psycopg import AsyncConnection

from tests.contract.realtime.comparison import Comparison, parse, topic_of
from tests.contract.realtime.server_process import ServerProcess
from tests.contract.realtime.tokens import TokenBook, token
from tests.contract.realtime.transcript import Step, Transcript
from tests.contract.realtime.wire import Socket

TOGETHER_SECONDS = 0.05
"""Statements recorded closer than this had no poll between them."""
APART_SECONDS = 0.6
"""Statements recorded farther apart than this had one, whether anybody heard of it or not."""
MARKER_SECONDS = 0.5
MARKER_TRIES = 20
RECORDED_DAY = 22
LATE_SECONDS = 5.0
"""The real server's refusals come so late: a client that closes earlier never reads them."""
MARKER_TOPIC = "realtime:marker"
_marks = itertools.count(1)


@dataclass
class Player:
    """`probe` hears the markers. `database` belongs to supabase_admin."""

    server: ServerProcess
    session: aiohttp.ClientSession
    database: AsyncConnection[Any]
    probe: Socket
    comparison: Comparison = field(default_factory=Comparison)
    sockets: dict[int, Socket] = field(default_factory=dict)
    asked_at: dict[tuple[int, str | None], float] = field(default_factory=dict)
    wrote_at: float = math.inf
    unread: set[int] = field(default_factory=set)
    """Connections that sent what the server may not have read yet."""
    tokens: TokenBook = field(default_factory=TokenBook)
    shift: timedelta = timedelta()

    async def play(self, transcript: Transcript, *, until: str | None = None) -> None:
        """`until` is the text of the note at which to stop."""
        self.shift = datetime.now(UTC) - transcript.recorded_at
        steps = deque(transcript.steps)
        while steps:
            step = steps.popleft()
            match step.kind:
                case "http":
                    await self._handshake(step)
                case "c2s":
                    self._note_request(step)
                    await self.sockets[step.connection].send(self._localise(self.tokens.fill(step.frame)))
                case "s2c":
                    await self._expect(step)
                case "sql":
                    group = [step]
                    while steps and _belongs(steps[0], group[-1]):
                        group.append(steps.popleft())
                    await self._run(group)
                case "close":
                    await self._close(step)
                case "note" if step.fields["text"] == until:
                    break
        await self.check_silence()

    async def check_silence(self) -> None:
        """Fails when the server sent anything that the real one did not."""
        await self._pass_markers()
        for connection in self.sockets:
            await self._check_silence(connection)

    async def _check_silence(self, connection: int, closed_at: float = math.inf) -> None:
        socket = self.sockets[connection]
        await socket.settle()
        surplus = [
            frame
            for frame in socket.unexpected()
            if closed_at - self.asked_at.get((connection, _reference(frame)), 0) > LATE_SECONDS
        ]
        assert not surplus, f"connection {connection} got what the real server does not send: {surplus}"

    def _note_request(self, step: Step) -> None:
        self.unread.add(step.connection)
        with suppress(ValueError):
            self.asked_at[step.connection, _reference(parse(step.frame))] = step.at

    async def _handshake(self, step: Step) -> None:
        path = self._localise(self.tokens.fill(step.fields["request"].removeprefix("GET ")))
        headers = {
            name: self.tokens.fill(value)
            for name, value in step.fields["headers"].items()
            if name.lower().startswith("x-")
        }
        url = f"{self.server.http_url}{path}"
        if step.fields["status"] == 101:
            socket = await self.session.ws_connect(url, headers=headers, max_msg_size=0)
            version = re.search(r"vsn=([\d.]+)", path)
            self.sockets[step.connection] = Socket(socket, version[1] if version else "1.0.0")
            return
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        async with self.session.get(url, headers=headers | upgrade | key) as response:
            assert response.status == step.fields["status"]
            body = await response.text()
            if step.fields["body"].startswith("{"):
                assert json.loads(body) == json.loads(step.fields["body"])

    async def _expect(self, step: Step) -> None:
        recorded = parse(step.frame)
        topic = topic_of(recorded)
        try:
            actual = await self.sockets[step.connection].next_of(topic)
        except TimeoutError:
            others = self.sockets[step.connection].unexpected()
            raise AssertionError(f"nothing came for {step.frame[:600]}; others: {others}") from None
        try:
            self.comparison.check(recorded, actual)
        except AssertionError as error:
            raise AssertionError(f"at {step.at} s: {error}\nrecorded {recorded}\nactual   {actual}") from None

    async def _run(self, group: Sequence[Step]) -> None:
        """Statements without a poll between them: the server is held still meanwhile."""
        for connection in self.unread & self.sockets.keys():
            await self.sockets[connection].settle()
        self.unread.clear()
        if group[0].at - self.wrote_at > APART_SECONDS:
            await self._pass_markers()
        self.wrote_at = group[-1].at
        transaction = any(step.statement == "COMMIT" for step in group)
        async with AsyncExitStack() as stack:
            if len(group) > 1:
                await stack.enter_async_context(self.server.held_still(self.database))
            if transaction:
                await stack.enter_async_context(self.database.transaction())
            for step in group:
                if step.statement != "COMMIT":
                    await self._execute(step)

    async def _execute(self, step: Step) -> None:
        notices: list[str] = []
        raised = ""
        recorder = _recorder(notices)
        self.database.add_notice_handler(recorder)
        try:
            if role := step.fields.get("role"):
                await self.database.execute(f'set role "{role}"'.encode())
            statement = STATEMENTS.get(step.statement, step.statement)
            await self.database.execute(self._localise(statement).encode())
        except psycopg.Error as error:
            raised = str(error.diag.message_primary)
        finally:
            self.database.remove_notice_handler(recorder)
            if step.fields.get("role"):
                await self.database.execute("reset role")
        recorded = str(step.fields.get("error", ""))
        assert raised in recorded if raised else not recorded, f"{step.statement}: {raised or 'no error'}"
        warnings = [n for n in step.fields.get("notices", ()) if n.startswith("WARNING")]
        warned = [n for n in notices if n.startswith("WARNING")]
        assert warned == warnings, f"{step.statement}: {warned} in place of {warnings}"

    async def _close(self, step: Step) -> None:
        socket = self.sockets[step.connection]
        if step.fields["code"] is None:  # the client was gone before it read all
            await socket.close()
        elif step.fields["by"] == "server":
            assert await socket.close_code() == step.fields["code"]
        else:
            await self._pass_markers()
            await self._check_silence(step.connection, step.at)
            await socket.close()
        del self.sockets[step.connection]

    async def _pass_markers(self) -> None:
        """One change and one broadcast through the whole server, which passes both on in commit order."""
        await self._pass_marker(
            "insert into marker.marks values (%(n)s)", lambda payload: payload.get("data", {}).get("record")
        )
        cursor = await self.database.execute(
            "select to_regclass(to_char(now(), '\"realtime.messages_\"YYYY_MM_DD')) is not null"
        )
        if await cursor.fetchone() != (True,):
            return  # without today's partition nothing can be broadcast, markers neither
        await self._pass_marker(
            "select realtime.send(jsonb_build_object('id', %(n)s::text), 'mark', 'marker', true)",
            lambda payload: payload.get("payload"),
        )

    async def _pass_marker(self, statement: LiteralString, read: Callable[[Any], Any]) -> None:
        """Sends anew what was lost together with a batch that could not be judged."""
        for _ in range(MARKER_TRIES):
            number = str(next(_marks))
            await self.database.execute(statement, {"n": number})
            with suppress(TimeoutError):
                while True:
                    frame = await self.probe.next_of(MARKER_TOPIC, MARKER_SECONDS)
                    record = read(frame["payload"])
                    if record is not None and record["id"] == number:
                        return
        raise AssertionError("no marker comes through")

    def _localise(self, text: str) -> str:
        """Times and days of the recording become those of this run."""
        shift = int(self.shift.total_seconds() * 1000)
        text = re.sub(r"\b1795\d{9}\b", lambda match: str(int(match[0]) + shift), text)
        today = datetime.now(UTC).date()

        def day(match: re.Match[str]) -> str:
            date = today + timedelta(days=int(match[2]) - RECORDED_DAY)
            return date.strftime(f"%Y{match[1]}%m{match[1]}%d")

        return re.sub(r"(?<!\d)2026([_-])11\1(22|23)(?!\d)", day, text)


# The recorder noted these in words, or not at all.
STATEMENTS = {
    "delete from realtime.messages where topic in ('rp','rp2','rpbad')": """
        delete from realtime.messages where topic in ('rp', 'rp2', 'rpbad');
        insert into realtime.messages (id, topic, extension, event, private, payload, inserted_at)
        select id, 'rp2', 'broadcast', 'ring', true, jsonb_build_object('n', n, 'id', id),
          now() + n * interval '1 ms'
        from (select gen_random_uuid() as id, n from generate_series(0, 29) n) stored
    """,
    "begin; insert 299; rollback": "begin; insert into public.todos (id, title) values (299, 'x'); rollback",
}


def _reference(frame: Any) -> str | None:
    """The ref that a reply repeats."""
    if isinstance(frame, dict):
        return str(frame.get("ref"))
    return str(frame[1]) if isinstance(frame, list) and len(frame) == 5 else None


def _belongs(step: Step, former: Step) -> bool:
    return step.kind == "sql" and step.at - former.at < TOGETHER_SECONDS


def _recorder(notices: list[str]) -> Any:
    def record(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(f"{diagnostic.severity}: {diagnostic.message_primary}")

    return record


async def open_probe(server: ServerProcess, session: aiohttp.ClientSession) -> Socket:
    """A socket that hears the markers, by its topic and by their table."""
    url = f"{server.http_url}/socket/websocket?apikey={token('service_role')}"
    probe = Socket(await session.ws_connect(url), "1.0.0", hears_marks=True)
    config = {"private": True, "postgres_changes": [{"event": "*", "schema": "marker", "table": "marks"}]}
    await probe.push(MARKER_TOPIC, "phx_join", {"config": config}, "1")
    for _ in range(2):  # the reply, then the system message
        await probe.next_of(MARKER_TOPIC)
    return probe
