"""Offline clients, a worker and others, in any order: everybody ends equal, and no edit is lost silently.

`make chaos CHAOS=sync_interleavings` plays a million histories; here are some, and what Hypothesis seeks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.chaos.sync_interleavings import sync_interleavings
from tests.sync import interleaving
from tests.sync.interleaving import CLIENTS, FIELDS, World, play_histories
from tests.sync.model import Server
from worker.gateway.pms import MustSnapshot, Outcome, Page
from worker.sync import merge, merging
from worker.sync.client import PmsClient

HISTORIES = 300
NAMES = st.sampled_from(CLIENTS)
PRODUCT = st.integers(0, 1)


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(name=NAMES, product=PRODUCT, fields=st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
    def change(self, name: str, product: int, fields: Sequence[str]) -> None:
        self.world.change(name, product, fields)

    @rule(name=NAMES, product=PRODUCT, remove=st.none() | st.integers(0, 3))
    def tag(self, name: str, product: int, remove: int | None) -> None:
        self.world.tag(name, product, remove=remove)

    @rule(name=NAMES, product=PRODUCT, by=st.integers(-5, 5).filter(bool))
    def move(self, name: str, product: int, by: int) -> None:
        self.world.move(name, product, by)

    @rule(name=NAMES, product=PRODUCT)
    def delete(self, name: str, product: int) -> None:
        self.world.delete(name, product)

    @rule(name=NAMES)
    def create(self, name: str) -> None:
        self.world.create(name)

    @rule(product=PRODUCT, name=st.sampled_from(FIELDS))
    def write(self, product: int, name: str) -> None:
        self.world.write(product, name)

    @rule(product=PRODUCT, by=st.integers(-5, 5).filter(bool))
    def count(self, product: int, by: int) -> None:
        self.world.count(product, by)

    @rule(name=NAMES, cut=st.sampled_from([None, None, False, True]), seed=st.none() | st.integers(0, 1000))
    def sync(self, name: str, cut: bool | None, seed: int | None) -> None:
        chance = random.Random(seed)
        meanwhile = None if seed is None else (lambda: interleaving.step(self.world, chance, deep=False))
        self.world.sync(name, cut=cut, meanwhile=meanwhile)

    @rule(name=NAMES)
    def crash(self, name: str) -> None:
        self.world.crash(name)

    @rule()
    def work(self) -> None:
        self.world.work()

    @rule(limit=st.integers(1, 3))
    def dispatch(self, limit: int) -> None:
        self.world.server.dispatch(limit)

    @rule()
    def forget_the_log(self) -> None:
        self.world.server.dispatch()
        self.world.server.forget()

    @rule(millis=st.sampled_from([1, 50, 5000]))
    def tick(self, millis: int) -> None:
        self.world.tick(millis)

    def teardown(self) -> None:
        self.world.rest(lambda: True)
        faults = self.world.faults()
        self.world.close()
        assert not faults, faults


Interleavings.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # to explain takes minutes
)
test_hypothesis_finds_no_history_that_ends_badly = Interleavings.TestCase


def test_what_a_client_did_itself_is_known_to_it_whatever_others_did_then() -> None:
    """It takes back what it did offline; in between somebody else wrote the same field."""
    world = World()
    for name in ("ann", "bob"):
        world.sync(name)
    world.tag("ann", 0, remove=None)
    world.change("ann", 1, ["name"])
    world.sync("ann")
    world.work()
    world.work()
    world.tag("bob", 0, remove=None)
    world.sync("bob")
    world.work()
    world.work()
    product = world.products[0]
    [tag, _] = world.server.row(("product", product))["attributes"]["tags"]  # type: ignore[index]
    assert world.stores["ann"].version("product", product) == 1, "she was told of nothing"
    world.tag("ann", 0, remove=0)
    world.rest(lambda: True)
    assert world.faults() == []
    assert tag not in (world.server.row(("product", product)) or {})["attributes"]["tags"]
    world.close()


def test_random_histories_end_well() -> None:
    played = play_histories(range(HISTORIES))
    assert played.faults == []
    assert played.histories == HISTORIES
    assert played.edits > 4 * HISTORIES
    assert played.conflicts > HISTORIES / 2


# -- the same histories show what a naive one does wrong -----------------------------------------------------


def last_comer_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(merge, "_winner", lambda *_, **__: "theirs")


def whole_rows(patch: pytest.MonkeyPatch) -> None:
    """No base: each edit is taken as if nobody else had written."""
    patch.setattr(merge.Server, "changed", lambda *_: False)


def no_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Server, "_is_stale", lambda *_: False)


def no_ids(patch: pytest.MonkeyPatch) -> None:
    """A push whose answer was lost is taken again."""
    original = Server.push

    def push(self: Server, client: str, changes: Any) -> Any:
        told = list(changes)
        again = [{**each, "id": f"{each['id']}+"} for each in told if each["id"] in self.changes]
        original(self, client, again)
        return original(self, client, told)

    patch.setattr(Server, "push", push)


def sent_is_settled(patch: pytest.MonkeyPatch) -> None:
    """A client that forgets what it has sent, before it has an answer."""
    original = PmsClient._hand_over

    async def hand_over(self: PmsClient, edits: Any) -> None:
        self._store.settle([Outcome(each.id, "applied") for each in edits])
        await original(self, edits)

    patch.setattr(PmsClient, "_hand_over", hand_over)


def cursor_after_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    original = PmsClient._snapshot

    async def snapshot(self: PmsClient, begin: MustSnapshot) -> None:
        await original(self, begin)
        later = await self._remote.pull(None, limit=1)
        assert isinstance(later, MustSnapshot)
        self._store._cursor = later.cursor

    patch.setattr(PmsClient, "_snapshot", snapshot)


def lost_deletions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(merging, "merge_deletion", lambda *_: merge.Merge())


def deletions_win(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(merging, "merge_deletion", lambda server, *_: merge.Merge(delete=not server.deleted))


def empty_inserts(patch: pytest.MonkeyPatch) -> None:
    original = merging._write

    def write(change: Any, merged: Any, *, action: str) -> Any:
        return original(change, merge.Merge() if action == "insert" else merged, action=action)

    patch.setattr(merging, "_write", write)


def any_page_will_do(patch: pytest.MonkeyPatch) -> None:
    """A client that does not look whether a page goes on where it is; some get lost on their way."""
    original = interleaving.ModelRemote.pull
    chance = random.Random(1)

    async def pull(self: interleaving.ModelRemote, cursor: str | None, **more: Any) -> Page | MustSnapshot:
        answer = await original(self, cursor, **more)
        if isinstance(answer, Page) and answer.head > answer.cursor.seq and chance.random() < 0.5:
            return await original(self, answer.cursor.text, **more)
        return answer

    patch.setattr(interleaving.ModelRemote, "pull", pull)
    patch.setattr("worker.sync.client._follows", lambda *_: True)


@pytest.mark.parametrize(
    "naive",
    [
        last_comer_wins,
        whole_rows,
        no_compare_and_set,
        no_ids,
        sent_is_settled,
        cursor_after_the_snapshot,
        any_page_will_do,
        lost_deletions,
        deletions_win,
        empty_inserts,
    ],
)
def test_naive_ones_do_not(
    naive: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    naive(monkeypatch)
    assert play_histories(range(2 * HISTORIES), enough=1).faults


async def test_the_million_can_be_played_by_several_processes() -> None:
    report = await sync_interleavings(histories=200, processes=2)
    assert not report.all_faults, report.line()
    assert report.facts["histories"] == 200
