"""`PmsClient`: a copy of a tenant's rows that works offline, and proves that it has everything.

    edit ──► queue ──► push ──► the worker merges ──► the log ──► pull ──► copy
      └──────────── shown at once, on top of the copy ───────────────────────┘

The copy is what the server says and nothing else; edits stand in a queue beside it and are laid over it for
whoever reads. Pages of the log follow each other number by number, so a hole cannot pass for a page without
news, and a copy that is as far as the bell says is complete. Small on purpose: to be read at one sitting,
and ported.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final, Protocol

from worker.engine.clock import Clock
from worker.engine.retry import Backoff
from worker.errors import BadAnswer, Busy, GatewayError, Refused
from worker.gateway.channel import Channel, Hear
from worker.gateway.edge.api import EdgeApi
from worker.gateway.pms import TABLES, Change, Cursor, Differences, MustSnapshot, Outcome, Page, StoredRow
from worker.gateway.realtime import RealtimeSupervisor, State
from worker.log import get_logger
from worker.sync.edit import NESTED, Delta, fields_of, is_number, parse_edit
from worker.sync.overlay import laid_over
from worker.sync.reconcile import difference
from worker.sync.stamp import HybridClock, Stamp
from worker.sync.store import PENDING, Edit, Operation, SqliteStore

SNAPSHOT: Final = "sync.snapshot"
HOLE: Final = "sync.hole"
MENDED: Final = "sync.mended"
DIED: Final = "sync.died"
FAILED: Final = "sync.failed"
_PUSHED_AT_ONCE: Final = 1000
_ASKED_AT_ONCE: Final = 100
FORGOTTEN: Final = "forgotten"
"""The status of an edit of which the server knows nothing any more: it was settled more than 30 days ago."""
_ANOTHER_HISTORY: Final = {"epoch", "ahead"}
_ONE_CHANGES_FAULT: Final = {
    "sync.change_invalid",
    "sync.change_id_reused",
    "sync.call_too_large",
    "json.too_deep",
    "json.number_too_long",
}
_KNOWN_TO_BE_NEW: Final = 1
"""The base of edits of a row that was made here and is not in the copy yet."""


class Remote(Protocol):
    """The server, as one user sees it: see `worker.gateway.pms.PmsRemote`. All raise `GatewayError`."""

    @property
    def client(self) -> str:
        """The name of the copy, which no other may have: the server is told it with each edit."""

    async def owner(self) -> str:
        """Whose copy it is: tenant, user and name of the copy, in a form that stays the same."""

    async def pull(self, cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot: ...
    async def read(self, entity: str, after: str | None) -> list[StoredRow]: ...
    async def push(self, changes: Sequence[Mapping[str, Any]]) -> list[Outcome]: ...
    async def outcomes(self, change_ids: Sequence[str]) -> list[Outcome]: ...
    async def report(self, entity: str, ranges: Sequence[Mapping[str, Any]]) -> Differences: ...
    async def listen(self, hear: Hear) -> Channel: ...


@dataclass(frozen=True, slots=True)
class ClientRules:
    """How often it looks unasked. With `silence` a lost bell or a cut tail shows within 5 s."""

    silence: timedelta = timedelta(seconds=4)
    without_bell: timedelta = timedelta(milliseconds=750)
    while_pending: timedelta = timedelta(milliseconds=250)
    early_bell: timedelta = timedelta(milliseconds=10)
    """A bell may be heard some ms before what it tells of can be read."""
    page: int = 2000
    first_pause: timedelta = timedelta(milliseconds=500)
    longest_pause: timedelta = timedelta(seconds=15)


class PmsClient:
    """One copy. `run` or `sync` keep it up to date; everything that reads and edits works without both.

    `PmsClient.api` is the door for machines: no copy and no user, but an API key and signed requests.
    """

    api = EdgeApi

    def __init__(
        self,
        remote: Remote,
        store: SqliteStore,
        *,
        clock: Clock,
        entities: Sequence[str] = tuple(TABLES),
        rules: ClientRules | None = None,
        changed: Callable[[Sequence[Change]], None] = lambda _: None,
    ) -> None:
        """`changed` hears what each page brought, once it is in the copy; nothing, where all may be new."""
        self._remote, self._store, self._clock = remote, store, clock
        self._entities, self._rules, self._changed = entities, rules or ClientRules(), changed
        self._stamps = HybridClock(remote.client, clock.now)
        if (last := store.last_stamp) is not None:
            self._stamps.saw(Stamp.parse(last))
        store.keep(entities)
        self._one_at_a_time = asyncio.Lock()
        self._news = asyncio.Event()
        self._told: Cursor | None = None
        self._too_early = self._waited = 0
        self._page = self._rules.page
        self._live = False
        self.snapshots = 0
        """How often the copy was begun anew."""
        self.head: int | None = None
        """The last number of the log that the server told of; None: it was not asked yet."""

    # -- reading ---------------------------------------------------------------------------------------------

    def row(self, entity: str, entity_id: str) -> dict[str, Any] | None:
        """A row with one's own edits on it; None when there is none, or it was deleted here."""
        return laid_over(self._store.row(entity, entity_id), self._store.on(entity, entity_id))

    def rows(self, entity: str) -> Iterator[dict[str, Any]]:
        """Every row with one's own edits on it, those made here last."""
        edited = set(self._store.edited(entity))
        for row in self._store.rows(entity):
            shown = self.row(entity, row["id"]) if row["id"] in edited else row
            edited.discard(row["id"])
            if shown is not None:
                yield shown
        yield from (shown for each in sorted(edited) if (shown := self.row(entity, each)) is not None)

    def edit(self, edit_id: str) -> Edit | None:
        """An edit of one's own: its `status`, and what went wrong."""
        return self._store.find(edit_id)

    @property
    def pending(self) -> int:
        """Edits of which it is not known what became of them."""
        return self._store.pending

    @property
    def through(self) -> int:
        """The copy holds everything up to this number of the tenant's log."""
        cursor = self._store.cursor
        return 0 if cursor is None else cursor.seq

    @property
    def live(self) -> bool:
        """Whether it hears the bell."""
        return self._live

    @property
    def complete(self) -> bool:
        """Whether the copy has all that the server, and the bell, told of."""
        cursor, told = self._store.cursor, self._told
        if cursor is None or self.head is None or cursor.seq < self.head:
            return False
        return told is None or (told.epoch == cursor.epoch and told.seq <= cursor.seq)

    # -- editing ---------------------------------------------------------------------------------------------

    def create(self, entity: str, fields: Mapping[str, Any], *, entity_id: str | None = None) -> str:
        """Makes a row; answers its id. Fields are columns, or `attributes.<key>`."""
        made = (entity_id or str(uuid.uuid4())).lower()  # as the server writes it
        edit = {field: {"set": value} for field, value in fields.items()}
        self._add(entity, made, "insert", None, edit)
        return made

    def change(self, entity: str, entity_id: str, edit: Mapping[str, Any]) -> str:
        """Edits fields: `{"name": {"set": "Boot"}, "attributes.tags": {"add": ["new"]}}`; answers the
        edit's id. Raises `ValueError` for what is no edit, `KeyError` for a row that is not there."""
        if not edit:
            raise ValueError("an edit names at least one field")
        return self._add(entity, entity_id, "update", self._base(entity, entity_id), dict(edit))

    def delete(self, entity: str, entity_id: str) -> str:
        """Deletes a row; answers the edit's id. Raises `KeyError` for one that is not there."""
        return self._add(entity, entity_id, "delete", self._base(entity, entity_id), {})

    def _base(self, entity: str, entity_id: str) -> int:
        if self.row(entity, entity_id) is None:
            raise KeyError(f"there is no {entity} {entity_id} in this copy")
        return self._store.version(entity, entity_id) or _KNOWN_TO_BE_NEW

    def _add(
        self, entity: str, entity_id: str, operation: Operation, base: int | None, edit: dict[str, Any]
    ) -> str:
        operations = parse_edit(edit)
        shown = fields_of(self.row(entity, entity_id) or {NESTED: {}})
        for name, it in operations.items():
            if name == NESTED:
                raise ValueError(f"{NESTED} are edited key by key, as {NESTED}.<key>")
            if isinstance(it, Delta) and not is_number(shown.get(name)):
                raise ValueError(f"{name} is no number: a delta cannot move it")
        made = Edit(
            id=str(uuid.uuid4()),
            entity=entity,
            entity_id=entity_id,
            operation=operation,
            base_version=base,
            edit=edit,
            stamp=str(self._stamps.stamp()),
        )
        self._store.add(made)
        self._waited = 0
        self._news.set()
        return made.id

    # -- keeping up ------------------------------------------------------------------------------------------

    async def sync(self, *, wait: bool = False) -> None:
        """Pulls, pushes, and learns what became of edits. `wait`: what was committed before is in the copy.
        Raises `GatewayError`; whatever was done until then stays done. Raises `NotYours`, and touches
        nothing, when somebody else has signed in: the queue would be pushed in their name."""
        async with self._one_at_a_time:
            self._store.belong_to(await self._remote.owner())
            # first, for it may say that the versions which edits were made to are no more
            await self._pull(wait=wait)
            await self._push()
            await self._learn()

    async def reconcile(self, entity: str) -> int:
        """Compares the copy with the server's rows by checksums, and mends what differs; how many rows that
        were. For `product` and `stock_level`. Raises `GatewayError` and `NotYours`."""
        async with self._one_at_a_time:
            self._store.belong_to(await self._remote.owner())
            await self._pull(wait=False)
            found = await difference(self._store.versions(entity), partial(self._remote.report, entity))
            self._store.take_rows(entity, found.rows, found.gone)
        if found.rows or found.gone:
            get_logger("worker.sync").warning(
                MENDED, entity=entity, rows=len(found.rows), gone=len(found.gone)
            )
            self._changed(())
        return len(found.rows) + len(found.gone)

    async def run(self) -> None:
        """Keeps up until it is cancelled: at every ring, at every edit, and unasked. An outage is no reason
        to end; that somebody else signed in is (`NotYours`, in an `ExceptionGroup`)."""
        supervisor = RealtimeSupervisor(
            open_channel=self._remote.listen, hear=self._heard, clock=self._clock, on_state=self._now
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run())
            group.create_task(self._keep_up())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps up while the block runs. When `run` dies the block is cancelled, and what it died of
        raised."""
        block = asyncio.current_task()
        task = asyncio.create_task(self.run())

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                get_logger("worker.sync").error(DIED, exc_info=error)
                if block is not None:
                    block.cancel()

        task.add_done_callback(ended)
        try:
            yield
        except asyncio.CancelledError:
            if not _died(task) or block is None or block.uncancel():
                raise  # somebody else wants the block to end
            raise task.exception() or AssertionError from None
        finally:
            task.remove_done_callback(ended)
            task.cancel()
            await asyncio.wait([task])

    async def _keep_up(self) -> None:
        rules = self._rules
        backoff = Backoff(first=rules.first_pause, longest=rules.longest_pause)
        while True:
            self._news.clear()
            try:
                await self.sync()
            except GatewayError as error:
                get_logger("worker.sync").warning(FAILED, error=str(error))
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            await self._clock.wait(self._news, self._pause())

    def _pause(self) -> timedelta:
        rules = self._rules
        if not self.complete:
            self._too_early += 1
            return min(rules.early_bell * (1 << min(self._too_early, 20)), rules.silence)
        self._too_early = 0
        longest = rules.silence if self._live else rules.without_bell
        if not self._store.pending:
            self._waited = 0
            return longest
        self._waited += 1
        return min(rules.while_pending * (1 << min(self._waited - 1, 20)), longest)

    def _heard(self, payload: Mapping[str, Any]) -> None:
        match payload:
            case {"epoch": str(epoch), "seq": int(seq)}:
                known = self._told.seq if self._told is not None and self._told.epoch == epoch else 0
                self._told = Cursor("", epoch, max(seq, known))  # rings overtake each other
                if self.complete:
                    return
        self._news.set()

    def _now(self, state: State) -> None:
        self._live = state == "live"

    # -- steps -----------------------------------------------------------------------------------------------

    async def _push(self) -> None:
        while edits := self._store.unsent(_PUSHED_AT_ONCE):
            await self._hand_over(edits)

    async def _hand_over(self, edits: list[Edit]) -> None:
        """One that the server does not even take must not hold up those behind it."""
        try:
            known = await self._remote.push([each.pushed() for each in edits])
        except Refused as error:
            if not _is_one_changes_fault(error):
                raise  # a right that is missing may come back
            if len(edits) == 1:
                refusal = {"code": error.message, "detail": error.detail}
                self._store.settle([Outcome(edits[0].id, "rejected", None, refusal)])
                return
            middle = len(edits) // 2
            await self._hand_over(edits[:middle])
            await self._hand_over(edits[middle:])
            return
        self._store.mark_sent([each.id for each in known])

    async def _pull(self, *, wait: bool) -> None:
        holes = 0
        while True:
            cursor = self._store.cursor
            answer = await self._next(cursor, wait=wait)
            if isinstance(answer, MustSnapshot):
                await self._snapshot(answer)
            elif self._kept(answer.entities) != self._store.entities:
                # who gains a right lacks what was written before, and who lost one must not keep it
                await self._snapshot(MustSnapshot("rights", answer.cursor, answer.entities))
            elif cursor is None or not _follows(answer, cursor):
                holes += 1
                get_logger("worker.sync").warning(HOLE, after=self.through, came=answer.first)
                if holes > 1:
                    raise BadAnswer(f"no page goes on after {self.through}; one began with {answer.first}")
            else:
                holes = 0
                self._take(answer, cursor)
                if answer.cursor.seq >= answer.head and not answer.behind:
                    if self._told is not None and self._told.epoch != answer.cursor.epoch:
                        self._told = None  # of a log that is no more
                    return

    def _kept(self, readable: frozenset[str]) -> frozenset[str]:
        return readable & frozenset(self._entities)

    def _take(self, page: Page, cursor: Cursor) -> None:
        self.head = page.head
        if page.cursor.seq > cursor.seq:
            changes = [each for each in page.changes if each.entity in self._entities]
            self._store.take_page(changes, page.cursor)
            self._changed(changes)
        if page.changes:
            latest = max(each.timestamp for each in page.changes)
            self._stamps.saw(Stamp.at(datetime.fromisoformat(latest)))

    async def _next(self, cursor: Cursor | None, *, wait: bool) -> Page | MustSnapshot:
        """The next page; a smaller one, where it was too much at once."""
        while True:
            try:
                after = None if cursor is None else cursor.text
                answer = await self._remote.pull(after, limit=self._page, wait=wait)
            except (BadAnswer, Busy):
                if self._page == 1:
                    raise
                self._page = max(self._page // 4, 1)
                continue
            self._page = min(self._page * 2, self._rules.page)
            return answer

    async def _snapshot(self, begin: MustSnapshot) -> None:
        """Reads the tables anew. What changes meanwhile comes with the pages behind the cursor, which is
        older than all that is read."""
        get_logger("worker.sync").info(SNAPSHOT, why=begin.why)
        self._store.begin_snapshot()
        for entity in self._entities:
            after: str | None = None
            while rows := await self._remote.read(entity, after):
                self._store.take_snapshot_rows(entity, rows)
                after = rows[-1].id
        self._store.end_snapshot(begin.cursor, self._kept(begin.entities))
        if begin.why in _ANOTHER_HISTORY:
            self._store.forget_the_server()
        self.snapshots += 1
        self._changed(())

    async def _learn(self) -> None:
        """They are worked off in the order of pushing, so the first are asked for first."""
        while waiting := [each.id for each in self._store.unsettled(_ASKED_AT_ONCE)]:
            told = {each.id: each for each in await self._remote.outcomes(waiting)}
            # what the server does not know was settled long ago; to push it again would be to do it twice
            known = [told.get(each) or Outcome(each, FORGOTTEN) for each in waiting]
            if settled := [each for each in known if each.status != PENDING]:
                self._store.settle(settled)
            if len(waiting) < _ASKED_AT_ONCE or any(each.status == PENDING for each in told.values()):
                return


def _is_one_changes_fault(error: Refused) -> bool:
    """Whether it is about what stands in a change (a text that no text can hold, for one)."""
    return error.message in _ONE_CHANGES_FAULT or (error.code or "")[:2] in ("22", "23")


def _died(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _follows(page: Page, cursor: Cursor) -> bool:
    """Whether `page` is the next one, and of one piece."""
    numbers = [page.first - 1, *(change.seq for change in page.changes), page.cursor.seq + 1]
    return (
        page.cursor.epoch == cursor.epoch
        and page.first == cursor.seq + 1
        and page.head >= page.cursor.seq >= cursor.seq
        and all(one < other for one, other in pairwise(numbers))
    )
