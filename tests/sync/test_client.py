"""`PmsClient` in odd moments, against the model of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from tests.sync.interleaving import ENTITIES, ModelRemote, run
from tests.sync.model import Server, Wall
from worker.engine.clock import SystemClock
from worker.errors import BadAnswer, Busy, NotYours, Refused, TokenRefused, Unreachable
from worker.gateway.channel import Channel, Doubt, Hear
from worker.gateway.pms import MustSnapshot, Outcome, Page, PmsRemote
from worker.sync.client import DIED, PmsClient
from worker.sync.store import SqliteStore

LAMP = {"name": "Lamp", "description": "", "price": 0, "attributes": {}, "deleted_at": None}


@pytest.fixture
def server() -> Server:
    made = Server()
    for n in range(12):
        made.add("product", f"p{n}", LAMP)
    made.dispatch()
    return made


@pytest.fixture
def remote(server: Server) -> ModelRemote:
    return ModelRemote(server, "ann")


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    with SqliteStore() as made:
        yield made


def client_on(remote: ModelRemote, store: SqliteStore) -> PmsClient:
    clock: Any = Wall(remote.server.clock)
    return PmsClient(remote, store, clock=clock, entities=tuple(sorted(ENTITIES)))


@pytest.fixture
def client(remote: ModelRemote, store: SqliteStore) -> PmsClient:
    made = client_on(remote, store)
    run(made.sync())
    return made


def work(server: Server) -> None:
    server.apply(server.merged())


def test_a_bell_says_how_far_the_log_is(client: PmsClient, server: Server) -> None:
    assert client.complete
    client._heard({"epoch": "e", "seq": client.through})
    assert client.complete, "that is known"
    server.update(("product", "p1"), {"name": "Boot"})
    server.dispatch()
    client._heard({"epoch": "e", "seq": server.head})
    assert not client.complete
    client._heard({"epoch": "e", "seq": server.head - 1})
    assert not client.complete, "rings overtake each other"
    run(client.sync())
    assert client.complete
    assert (client.row("product", "p1") or {})["name"] == "Boot"


def test_who_has_not_asked_since_it_began_does_not_know(
    client: PmsClient, remote: ModelRemote, store: SqliteStore
) -> None:
    again = client_on(remote, store)
    assert client.complete
    assert not again.complete
    run(again.sync())
    assert again.complete


def test_a_late_bell_of_a_log_that_is_no_more_is_forgotten(client: PmsClient) -> None:
    client._heard({"epoch": "of before the restore", "seq": 99_999})
    assert not client.complete, "who knows"
    run(client.sync())
    assert client.complete


def test_a_right_that_is_missing_leaves_edits_where_they_are(
    client: PmsClient, remote: ModelRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = [client.change("product", f"p{n}", {"name": {"set": "Boot"}}) for n in range(3)]

    async def refuse(_: object) -> list[Any]:
        raise Refused("permission.denied", code="PT403")

    with monkeypatch.context() as patch:
        patch.setattr(remote, "push", refuse)
        remote.server.update(("product", "p9"), {"name": "Hat"})
        remote.server.dispatch()
        with pytest.raises(Refused, match=r"permission\.denied"):
            run(client.sync())
        assert client.pending == 3
        assert (client.row("product", "p9") or {})["name"] == "Hat", "who may not push may still read"
    run(client.sync())
    work(remote.server)
    run(client.sync())
    assert [it.status for each in edits if (it := client.edit(each)) is not None] == ["applied"] * 3


@pytest.mark.parametrize("error", [BadAnswer("too large"), Busy("took too long")])
def test_a_page_that_is_too_much_is_asked_for_in_parts(
    client: PmsClient, remote: ModelRemote, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for n in range(12):
        remote.server.update(("product", f"p{n}"), {"name": "Boot"})
    remote.server.dispatch()
    original, limits = remote.pull, list[int]()

    async def pull(cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        limits.append(limit)
        if limit > 4:
            raise error
        return await original(cursor, limit=limit, wait=wait)

    monkeypatch.setattr(remote, "pull", pull)
    run(client.sync())
    assert {row["name"] for row in client.rows("product")} == {"Boot"}
    assert min(limits) <= 4 < max(limits)


def test_who_waits_asks_again_while_the_log_is_behind(
    client: PmsClient, remote: ModelRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dispatch takes a slice a call; a page that ends at the head is not all that was written."""
    run(client.sync())
    names = ["Boot", "Hat"]
    original = remote.pull

    async def pull(cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        if names:
            remote.server.update(("product", "p1"), {"name": names.pop(0)})
        page = await original(cursor, limit=limit, wait=wait)
        return replace(page, behind=bool(names)) if isinstance(page, Page) else page

    monkeypatch.setattr(remote, "pull", pull)
    run(client.sync(wait=True))
    assert (client.row("product", "p1") or {})["name"] == "Hat"


def test_what_the_server_forgot_is_not_done_twice(client: PmsClient, server: Server) -> None:
    """It was settled, and more than 30 days have passed."""
    edit = client.change("product", "p1", {"name": {"set": "Boot"}})
    run(client.sync())
    work(server)
    server.dispatch()
    server.changes.clear()
    run(client.sync())
    told = client.edit(edit)
    assert told is not None
    assert (told.status, client.pending, len(server.changes)) == ("forgotten", 0, 0)
    assert (client.row("product", "p1") or {})["name"] == "Boot"


def test_after_a_restore_edits_are_pushed_again_and_new_ones_have_no_base(
    client: PmsClient, remote: ModelRemote, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = client.change("product", "p1", {"name": {"set": "Boot"}})
    run(client.sync())
    server.changes.clear()
    server.waiting.clear()
    made = client.change("product", "p2", {"price": {"set": 7}})
    server.update(("product", "p2"), {"price": 9})
    original = remote.pull

    async def restored(cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        monkeypatch.setattr(remote, "pull", original)
        begun = await original(None, limit=limit)
        assert isinstance(begun, MustSnapshot)
        return replace(begun, why="epoch")

    monkeypatch.setattr(remote, "pull", restored)
    run(client.sync())
    work(server)
    server.dispatch()
    run(client.sync())
    statuses = [it.status for each in (sent, made) if (it := client.edit(each)) is not None]
    assert statuses == ["applied", "conflict"], "what the version meant is not known any more"
    assert (client.row("product", "p1") or {})["name"] == "Boot"


def test_a_text_that_no_text_can_hold_does_not_hold_up_the_others(
    client: PmsClient, remote: ModelRemote, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = remote.push

    async def push(changes: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        if any("\0" in str(each["edit"]["name"]["set"]) for each in changes):
            raise Refused("unsupported Unicode escape sequence", code="22P05")
        return await original(changes)

    monkeypatch.setattr(remote, "push", push)
    bad = client.change("product", "p1", {"name": {"set": "a\0b"}})
    fine = client.change("product", "p2", {"name": {"set": "Boot"}})
    run(client.sync())
    work(server)
    run(client.sync())
    statuses = [it.status for each in (bad, fine) if (it := client.edit(each)) is not None]
    assert statuses == ["rejected", "applied"]


def test_a_delta_moves_numbers_alone(client: PmsClient, server: Server) -> None:
    with pytest.raises(ValueError, match="name is no number"):
        client.change("product", "p1", {"name": {"delta": 1}})
    with pytest.raises(ValueError, match="key by key"):
        client.change("product", "p1", {"attributes": {"set": {}}})
    client.change("product", "p1", {"attributes.n": {"delta": 1}})
    server.update(("product", "p1"), {"attributes.n": "text"})
    server.dispatch()
    run(client.sync())
    assert (client.row("product", "p1") or {})["attributes"] == {"n": "text"}


def test_who_wants_more_begins_anew(remote: ModelRemote, store: SqliteStore) -> None:
    remote.server.add("stock_level", "l1", {"on_hand": 1})
    remote.server.dispatch()
    clock: Any = Wall(remote.server.clock)
    few = PmsClient(remote, store, clock=clock, entities=("product",))
    run(few.sync())
    assert few.complete
    more = client_on(remote, store)
    assert not more.complete
    assert len(list(more.rows("product"))) == 12, "what is there is shown meanwhile"
    run(more.sync())
    assert more.complete
    assert [row["on_hand"] for row in more.rows("stock_level")] == [1]


async def test_a_sign_in_that_fails_is_no_reason_to_end() -> None:
    async def token() -> str:
        raise OSError("no network")

    async with PmsRemote(
        url="http://127.0.0.1:1", publishable_key="k", token=token, tenant_id="t", client="c"
    ) as remote:
        with pytest.raises(Unreachable, match="no access token: OSError"):
            await remote.pull(None, limit=1)
        with pytest.raises(Doubt, match="no access token"):
            await remote.listen(lambda _: None)


def test_who_signs_in_as_somebody_else_gets_neither_copy_nor_queue(
    client: PmsClient, remote: ModelRemote, server: Server, store: SqliteStore
) -> None:
    edit = client.change("product", "p1", {"name": {"set": "Boot"}})
    ben = client_on(ModelRemote(server, "ben"), store)
    for refused in (ben.sync, lambda: ben.reconcile("product")):
        with pytest.raises(NotYours, match="belongs to ann, not to ben"):
            run(refused())
    assert not server.changes, "her edits were not pushed in his name"
    run(client_on(remote, store).sync())
    assert list(server.changes) == [edit]


async def test_an_owner_is_who_the_token_names() -> None:
    told = ["sub", "other"]

    async def token() -> str:
        return jwt.encode({told[0]: told[1]}, "k" * 32)

    async with PmsRemote(
        url="http://127.0.0.1:1", publishable_key="k", token=token, tenant_id="t", client="c"
    ) as remote:
        assert await remote.owner() == "tenant t, user other, client c"
        told[0] = "role"
        with pytest.raises(TokenRefused, match="names no user"):
            await remote.owner()


class Stranger(ModelRemote):
    """Somebody else signs in while the client runs."""

    async def listen(self, hear: Hear) -> Channel:
        await asyncio.sleep(3600)
        raise AssertionError

    async def owner(self) -> str:
        return "ben"


async def test_a_block_does_not_go_on_with_a_client_that_died(store: SqliteStore, server: Server) -> None:
    store.belong_to("ann")
    client = PmsClient(Stranger(server, "ann"), store, clock=SystemClock())
    with capture_logs() as logs, pytest.raises(ExceptionGroup) as died:
        async with client.running():
            await asyncio.sleep(3600)
    assert died.group_contains(NotYours)
    assert [line["event"] for line in logs] == [DIED]
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling(), "whoever had the block goes on"


async def test_a_block_that_is_cancelled_is_cancelled(store: SqliteStore, server: Server) -> None:
    store.belong_to("ben")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def block() -> None:
        async with PmsClient(Stranger(server, "ben"), store, clock=SystemClock()).running():
            begun.set()
            await ended.wait()

    task = asyncio.create_task(block())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_nothing_flickers_between_the_verdict_and_the_log(client: PmsClient, server: Server) -> None:
    """An edit that is settled is shown until the copy holds what it made, and never twice."""
    made = client.create("product", {"name": "Hat"}, entity_id="p99")
    client.change("product", "p1", {"attributes.tags": {"add": ["new"]}})
    run(client.sync())
    work(server)
    run(client.sync())
    assert client.pending == 0
    for _ in range(2):
        assert (client.row("product", made) or {})["name"] == "Hat"
        assert (client.row("product", "p1") or {})["attributes"] == {"tags": ["new"]}
        assert [row["id"] for row in client.rows("product")].count(made) == 1
        server.dispatch()
        run(client.sync())
    server.remove(("product", made))
    server.dispatch()
    run(client.sync())
    assert client.row("product", made) is None


def test_stamps_grow_over_restarts_and_what_was_seen(
    remote: ModelRemote, server: Server, tmp_path: Path
) -> None:
    server.clock.millis += 3_600_000
    server.update(("product", "p1"), {"name": "Boot"})
    server.dispatch()
    stamps = []
    for drift in (0, -7_200_000):
        with SqliteStore(tmp_path / "copy") as store:
            clock: Any = Wall(server.clock, drift)
            client = PmsClient(remote, store, clock=clock, entities=tuple(sorted(ENTITIES)))
            run(client.sync())
            edit = client.edit(client.change("product", "p1", {"name": {"set": f"Boot {drift}"}}))
            assert edit is not None
            stamps.append(edit.stamp)
    assert stamps == sorted(stamps)
    assert stamps[0] < stamps[1]
