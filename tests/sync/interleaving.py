"""Three clients that edit offline and a server, step by step in any order, and what must hold in the end."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

from tests.sync.model import Key, Pushed, Server, Wall, changed_fields
from worker.errors import GatewayError, Unreachable
from worker.gateway.channel import Channel, Hear
from worker.gateway.pms import Cursor, Differences, MustSnapshot, Outcome, Page, StoredRow
from worker.sync.client import ClientRules, PmsClient
from worker.sync.edit import applied, elements, fields_of, parse_edit
from worker.sync.merging import Write
from worker.sync.stamp import Stamp
from worker.sync.store import SqliteStore

T = TypeVar("T")
EPOCH: Final = "e"
ENTITIES: Final = frozenset(("product", "stock_level"))
CLIENTS: Final = ("ann", "bob", "cyd")
DRIFTS: Final = (0, -3_600_000, 50_000)
"""Milliseconds by which the clients' clocks are wrong."""
FIELDS: Final = ("name", "description", "price", "attributes.brand", "attributes.color")
ON_HAND: Final = 1000
STEPS: Final = 12
_HISTORIES_OF_A_WORLD: Final = 50
_RULES: Final = ClientRules(page=5)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """A coroutine that waits for nothing but others of its kind, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits for something")


@dataclass
class ModelRemote:
    """One client's way to the model. `meanwhile` is called wherever others may come in between; the calls
    in `cut` fail: before they take effect, or after."""

    server: Server
    client: str
    meanwhile: Callable[[], None] = lambda: None
    cut: list[bool] = field(default_factory=list)

    async def pull(self, cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        self.meanwhile()
        if wait:
            self.server.dispatch()
        server, after = self.server, None if cursor is None else int(cursor)
        if after is None or (after < server.head and after + 1 < server.first):
            why = "start" if after is None else "retention"
            return MustSnapshot(why, Cursor(str(server.head), EPOCH, server.head), ENTITIES)
        changes = server.log[after + 1 - server.first :][:limit]
        through = after + len(changes)
        return Page(after + 1, Cursor(str(through), EPOCH, through), server.head, ENTITIES, changes)

    async def read(self, entity: str, after: str | None) -> list[StoredRow]:
        self.meanwhile()
        found = sorted(key for key in self.server.rows if key[0] == entity and key[1] > (after or ""))
        return [self.server.stored(key) for key in found[:2]]

    async def owner(self) -> str:
        return self.client

    async def push(self, changes: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        fails = self.cut.pop() if self.cut else None
        if fails is False:
            raise Unreachable("on the way there")
        known = self.server.push(self.client, map(dict, changes))
        if fails:
            raise Unreachable("on the way back")
        self.meanwhile()
        return known

    async def outcomes(self, change_ids: Sequence[str]) -> list[Outcome]:
        self.meanwhile()
        found = [(each, self.server.changes.get(each)) for each in change_ids]
        return [Outcome(each, it.status, it.version, it.error) for each, it in found if it is not None]

    async def report(self, entity: str, ranges: Sequence[Mapping[str, Any]]) -> Differences:
        raise NotImplementedError

    async def listen(self, hear: Hear) -> Channel:
        raise NotImplementedError


class World:
    """One server, three clients, some products and a stock level for each."""

    def __init__(self, products: int = 2) -> None:
        self.server = Server(Wall())
        self.remotes = {name: ModelRemote(self.server, name) for name in CLIENTS}
        self.stores = {name: SqliteStore() for name in CLIENTS}
        self.clients = {name: self._client(name) for name in CLIENTS}
        self.in_hand: list[Write] | None = None
        self.moved: dict[str, int] = {}
        """What others than clients added to a level."""
        self.made = 0
        """Edits of clients."""
        self._number = 0
        self.stock(products)

    def stock(self, products: int) -> None:
        """Products and levels to work with; older ones are gone for good."""
        for key in list(self.server.rows):
            self.server.remove(key)
        self.products = [self._new("p") for _ in range(products)]
        self.levels = [self._new("l") for _ in self.products]
        for product, level in zip(self.products, self.levels, strict=True):
            blank = {"name": "", "description": "", "price": 0, "attributes": {}, "deleted_at": None}
            self.server.add("product", product, blank)
            self.server.add("stock_level", level, {"on_hand": ON_HAND})
        self.server.changes.clear()
        self.server.conflicts.clear()
        self.server.stamps.clear()
        self.server.graves.clear()
        self.moved.clear()
        self.made = 0

    def close(self) -> None:
        for store in self.stores.values():
            store.__exit__(None, None, None)

    def _client(self, name: str) -> PmsClient:
        clock = Wall(self.server.clock, DRIFTS[CLIENTS.index(name)])
        entities = ("product", "stock_level")
        return PmsClient(
            self.remotes[name],
            self.stores[name],
            clock=clock,  # type: ignore[arg-type]  # nothing here waits
            entities=entities,
            rules=_RULES,
        )

    def _new(self, what: str) -> str:
        self._number += 1
        return f"{what}{self._number}"

    # -- steps -----------------------------------------------------------------------------------------------

    def change(self, name: str, product: int, fields: Sequence[str]) -> None:
        edit = {each: {"set": self._number * 10 + n} for n, each in enumerate(fields)}
        self._number += 1
        self._change(name, "product", self.products[product], edit)

    def tag(self, name: str, product: int, *, remove: int | None) -> None:
        """Adds a tag that nobody has; or removes one that it sees."""
        row = self.clients[name].row("product", self.products[product])
        if row is None:
            return
        tags = sorted(row["attributes"].get("tags") or [])
        if remove is None or not tags:
            told = {"add": [self._new("t")]}
        else:
            told = {"remove": [tags[remove % len(tags)]]}
        self._change(name, "product", self.products[product], {"attributes.tags": told})

    def move(self, name: str, product: int, by: int) -> None:
        self._change(name, "stock_level", self.levels[product], {"on_hand": {"delta": by}})

    def delete(self, name: str, product: int) -> None:
        if self.clients[name].row("product", self.products[product]) is not None:
            self.clients[name].delete("product", self.products[product])
            self.made += 1

    def _change(self, name: str, entity: str, entity_id: str, edit: Mapping[str, Any]) -> None:
        if self.clients[name].row(entity, entity_id) is not None:
            self.clients[name].change(entity, entity_id, edit)
            self.made += 1

    def create(self, name: str) -> None:
        self._number += 1
        made = self.clients[name].create("product", {"name": self._number}, entity_id=self._new("p"))
        self.products.append(made)
        self.made += 1

    def write(self, product: int, name: str) -> None:
        """By somebody who is no client."""
        key = ("product", self.products[product])
        row = self.server.row(key)
        if row is not None and row["deleted_at"] is None:
            self.server.update(key, {name: self._number})
            self._number += 1

    def count(self, product: int, by: int) -> None:
        if product < len(self.levels):
            key = ("stock_level", self.levels[product])
            self.server.update(key, {"on_hand": (self.server.row(key) or {})["on_hand"] + by})
            self.moved[key[1]] = self.moved.get(key[1], 0) + by

    def sync(
        self, name: str, *, cut: bool | None = None, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """`cut`: the push fails, before it takes effect (False) or after."""
        remote = self.remotes[name]
        remote.cut = [] if cut is None else [cut]
        remote.meanwhile = meanwhile or (lambda: None)
        try:
            run(self.clients[name].sync())
        except GatewayError:
            assert cut is not None
        remote.meanwhile = lambda: None

    def crash(self, name: str) -> None:
        """The client begins anew with what it had stored."""
        self.clients[name] = self._client(name)

    def work(self) -> None:
        """The worker reads and merges, or, if it has, writes."""
        if self.in_hand is None:
            self.in_hand = self.server.merged()
        else:
            self.server.apply(self.in_hand)
            self.in_hand = None

    def tick(self, millis: int) -> None:
        self.server.clock.millis += millis

    # -- the end ---------------------------------------------------------------------------------------------

    def rest(self, decide: Callable[[], bool]) -> None:
        """Everybody comes online, and people decide what waits for them: for the edit, if `decide` is."""
        for name in CLIENTS:
            self.sync(name)
        while self.server.waiting or self.in_hand:
            self.work()
        for conflict in self.server.conflicts:
            if conflict.winner is None and (conflict.entity, conflict.entity_id) in self.server.rows:
                self.server.resolve(conflict, "theirs" if decide() else "ours")
        self.server.dispatch()
        for name in CLIENTS:
            self.sync(name)

    def faults(self) -> list[str]:
        """What is wrong at rest; empty when all is well."""
        return [*self._unequal(), *self._unsettled(), *self._lost()]

    def _unequal(self) -> Iterator[str]:
        expected = {key: written[-1].state for key, written in self.server.rows.items()}
        for name, client in self.clients.items():
            store = self.stores[name]
            copy = {
                (entity, row["id"]): row
                for entity in ("product", "stock_level")
                for row in store.rows(entity)
            }
            if copy != expected:
                yield f"{name} has {copy}, not {expected}"
            shown = [client.row(*key) for key in expected]
            living = [state if state.get("deleted_at") is None else None for state in expected.values()]
            if shown != living:
                yield f"{name} shows {shown}, not {living}"
            if not client.complete:
                yield f"{name} does not know that it has everything"

    def _unsettled(self) -> Iterator[str]:
        for name, client in self.clients.items():
            if client.pending:
                yield f"{name} has {client.pending} pending edits"
        if self.made != len(self.server.changes):
            yield f"{self.made} edits were made, and {len(self.server.changes)} pushed"
        for pushed in self.server.changes.values():
            if pushed.status == "pending":
                yield f"{pushed.change['id']} is pending"

    def _lost(self) -> Iterator[str]:
        for pushed in self.server.changes.values():
            key = (pushed.change["entity"], pushed.change["entity_id"])
            if key[0] == "product" and key in self.server.rows:
                yield from Judge(self.server, pushed, key).faults()
        for level in self.levels:
            key = ("stock_level", level)
            deltas = [
                pushed.change["edit"]["on_hand"]["delta"]
                for pushed in self.server.changes.values()
                if pushed.change["entity_id"] == level
            ]
            row, expected = self.server.row(key), ON_HAND + sum(deltas) + self.moved.get(level, 0)
            if row is not None and row["on_hand"] != expected:
                yield f"{level} has {row['on_hand']}, not {expected}"


class Judge:
    """Of one edit of a product: whether each of its fields was written, or decided as its policy wants it.

    It looks at the history alone: who wrote what between the edit's base and its own moment.
    """

    def __init__(self, server: Server, pushed: Pushed, key: Key) -> None:
        self.server, self.pushed, self.key = server, pushed, key
        self.id, self.edit = pushed.change["id"], parse_edit(pushed.change["edit"])
        self.versions = server.rows[key]
        self.decided = {it.field: it for it in server.conflicts if it.change_id == self.id}
        self.own = [it.version for it in self.versions if it.command == self.id]

    def faults(self) -> Iterator[str]:
        match self.pushed.change["operation"]:
            case "insert":
                yield from self._of_insert()
            case "delete":
                yield from self._of_deletion()
            case _:
                yield from self._of_update()

    def _of_insert(self) -> Iterator[str]:
        """Nobody else makes a row of this id."""
        first = self.versions[0]
        made = {name: first.state.get(name) for name in self.edit}
        if first.command != self.id or made != {name: applied(it, None) for name, it in self.edit.items()}:
            yield f"{self.id} did not make the row that it was to make, but {first.state}"

    def _of_deletion(self) -> Iterator[str]:
        """It deletes, finds the row deleted, or it is decided whether it does."""
        until = self._until()
        found = self.versions[until - 1].state["deleted_at"] is not None
        deleted = any(it.command == self.id and it.state["deleted_at"] for it in self.versions)
        decision = self.decided.get("deleted_at")
        names = {
            name for old, new in pairwise(self.versions) for name in changed_fields(old.state, new.state)
        }
        foreign = any(self._foreign(name) is not None for name in names)
        if decision is None and not deleted and not found:
            yield f"{self.id} deleted nothing"
        if foreign and decision is None and not found:
            yield f"{self.id}: nobody decided on the deletion of what others had written"
        if not foreign and decision is not None:
            yield f"{self.id}: the deletion was no conflict"

    def _of_update(self) -> Iterator[str]:
        if "deleted_at" in self.decided or self.pushed.status == "rejected":
            yield from self._of_a_deleted_row()
            return
        for name, operation in self.edit.items():
            if name == "attributes.tags":
                yield from self._of_tags()
                continue
            wrote, value = self._wrote(name), applied(operation, None)
            foreign = self._foreign(name)
            decision = self.decided.get(name)
            if foreign is None:
                if wrote != value:
                    yield f"{self.id} lost {name}, which nobody else wrote"
                if decision is not None:
                    yield f"{self.id}: {name} was no conflict"
            elif decision is None:
                yield f"{self.id}: nobody decided on {name}"
            elif (decision.winner == "theirs") != (self._written_ever(name, value)):
                yield f"{self.id}: {name} was decided for {decision.winner}, but {wrote} was written"
            elif not self._rightly(name, decision.policy, decision.winner, foreign):
                yield f"{self.id}: {name} was decided for {decision.winner} by {decision.policy}"

    def _until(self) -> int:
        """The version of the row when the edit was merged."""
        return min(self.own) - 1 if self.own else (self.pushed.version or 0)

    def _foreign(self, name: str) -> Stamp | None:
        """When somebody else wrote the field last, between the base and the merge."""
        found: Stamp | None = None
        base = self.pushed.change["base_version"]
        for old, new in pairwise(self.versions):
            if base < new.version <= self._until() and name in changed_fields(old.state, new.state):
                author = self.server.changes.get(new.command or "")
                if author is not None and author.client == self.pushed.client:
                    found = None
                elif author is not None:
                    found = Stamp.parse(author.change["stamp"])
                else:
                    found = Stamp(new.millis)
        return found

    def _wrote(self, name: str) -> Any:
        """What the edit itself made of the field."""
        mine = [it.state for it in self.versions if it.command == self.id]
        return fields_of(mine[-1]).get(name) if mine else None

    def _written_ever(self, name: str, value: Any) -> bool:
        return any(fields_of(it.state).get(name) == value for it in self.versions)

    def _rightly(self, name: str, policy: str, winner: str | None, foreign: Stamp) -> bool:
        told = self.server.policies["product"]
        if policy != told.get(name, told["*"]):
            return False
        mine = Stamp.parse(self.pushed.change["stamp"])
        by_policy = {
            "last_write": {"theirs" if mine > foreign else "ours"},
            "server_wins": {"ours"},
            "client_wins": {"theirs"},
            "manual": {"ours", "theirs"},  # people have decided
        }
        return winner in by_policy[policy]

    def _of_tags(self) -> Iterator[str]:
        """Each tag is added by one edit alone, so nobody's wish excludes another's."""
        told = self.pushed.change["edit"]["attributes.tags"]
        before = self.versions[self._until() - 1].state["attributes"].get("tags")
        after = self._wrote("attributes.tags")
        for tag in told.get("add", []):
            if tag not in elements(after):
                yield f"{self.id} lost the tag {tag}"
        for tag in told.get("remove", []):
            if tag in elements(before) and (after is None or tag in elements(after)):
                yield f"{self.id} did not remove the tag {tag}"

    def _of_a_deleted_row(self) -> Iterator[str]:
        deleted = any(it.state["deleted_at"] for it in self.versions)
        if not deleted:
            yield f"{self.id} was {self.pushed.status}: {self.pushed.error}, but nobody deleted the row"
        if self.pushed.status != "rejected" and self.decided["deleted_at"].winner not in ("ours", "theirs"):
            yield f"{self.id}: nobody decided on the deletion"


def play(world: World, chance: random.Random, steps: int) -> None:
    """A random history of clients that know what there is, until everybody rests."""
    world.server.dispatch()
    for name in CLIENTS:
        world.sync(name)
    for _ in range(steps):
        step(world, chance)
    world.rest(lambda: chance.random() < 0.5)


def _just_before_the_worker(world: World) -> tuple[int, str] | None:
    """A product and a field that the worker has in hand."""
    for write in world.in_hand or ():
        if write["error"] is None and write["entity_id"] in world.products:
            for name in write["fields"]:
                if name in FIELDS:
                    return world.products.index(write["entity_id"]), name
    return None


def step(world: World, chance: random.Random, *, deep: bool = True) -> None:
    name, product = chance.choice(CLIENTS), chance.randrange(len(world.products))
    dice = chance.random()
    if world.in_hand and dice < 0.15:
        world.write(*_just_before_the_worker(world) or (product, chance.choice(FIELDS)))
    elif world.server.waiting and dice < 0.35:
        world.work()
    elif dice < 0.66:
        _edit(world, chance, name, product)
    elif dice < 0.71:
        world.write(product, chance.choice(FIELDS))
    elif dice < 0.73:
        world.count(product, chance.choice((-2, 4)))
    elif dice < 0.93 and deep:
        meanwhile = (lambda: _others(world, chance)) if chance.random() < 0.3 else None
        world.sync(name, cut=chance.choice((None, None, None, False, True)), meanwhile=meanwhile)
    elif dice < 0.95:
        world.server.dispatch(chance.randrange(1, 6))
    elif dice < 0.96:
        world.crash(name)
    else:
        world.server.dispatch()
        world.server.forget()
    world.tick(chance.choice((0, 1, 40, 3000)))


def _others(world: World, chance: random.Random) -> None:
    """What may happen while a client waits for an answer."""
    if chance.random() < 0.5:
        world.write(chance.randrange(len(world.products)), chance.choice(FIELDS))
        world.server.dispatch()
    else:
        step(world, chance, deep=False)


def _edit(world: World, chance: random.Random, name: str, product: int) -> None:
    dice = chance.random()
    if dice < 0.6:
        world.change(name, product, chance.sample(FIELDS, chance.choice((1, 1, 2))))
    elif dice < 0.76:
        world.tag(name, product, remove=chance.choice((None, 0, 1)))
    elif dice < 0.9 and product < len(world.levels):
        world.move(name, product, chance.choice((-3, -1, 2, 5)))
    elif dice < 0.96:
        world.delete(name, product)
    else:
        world.create(name)


@dataclass(slots=True)
class Played:
    """What came of histories. `edits` of clients; `conflicts`: fields on which somebody had to decide."""

    histories: int = 0
    edits: int = 0
    conflicts: int = 0
    snapshots: int = 0
    faults: list[str] = field(default_factory=list)

    def plus(self, other: Played) -> Played:
        return Played(
            self.histories + other.histories,
            self.edits + other.edits,
            self.conflicts + other.conflicts,
            self.snapshots + other.snapshots,
            self.faults + other.faults,
        )


def play_histories(seeds: Sequence[int], *, steps: int = STEPS, enough: int = 3) -> Played:
    """Plays a history for each seed, a world for each 50 of them, until there are `enough` faults."""
    played = Played()
    for first in range(0, len(seeds), _HISTORIES_OF_A_WORLD):
        world = World()
        try:
            for seed in seeds[first : first + _HISTORIES_OF_A_WORLD]:
                world.stock(1 + seed % 2)
                play(world, random.Random(seed), steps)
                played.histories += 1
                played.edits += world.made
                played.conflicts += len(world.server.conflicts)
                if faults := world.faults():
                    told = f"history {seed}, in the world of {seeds[first]}: {'; '.join(faults)}"
                    played.faults.append(told[:2000])
                    break
            played.snapshots += sum(client.snapshots for client in world.clients.values())
        finally:
            world.close()
        if len(played.faults) >= enough:
            break
    return played
