"""The merge: what each policy does, and what holds whatever the order is in which changes come."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.sync.edit import Delta, Edit, Members, Operation, Put, elements
from worker.sync.merge import (
    DELETED,
    EditRefused,
    Merge,
    Policies,
    Policy,
    Server,
    element_key,
    is_element,
    merge,
    merge_deletion,
)
from worker.sync.stamp import Stamp

EARLY, LATE, LATER = Stamp(1000, 0, "a"), Stamp(2000, 0, "b"), Stamp(3000, 0, "c")
EACH = Policies(
    {"price": "manual", "stock": "counter", "tags": "set", "brand": "server_wins", "color": "client_wins"}
)
BASE = {"name": "Shirt", "price": 10, "stock": 5, "tags": ["new"], "brand": "Acme", "color": "red"}


def server(touched: Mapping[str, Stamp] | None = None, **changed: Any) -> Server:
    """One whose row was `BASE` and has been changed since, by default at `LATE`."""
    return Server(BASE | changed, BASE, dict.fromkeys(changed, LATE) | dict(touched or {}))


def one(name: str, operation: Operation, at: Stamp, it: Server) -> Merge:
    return merge(it, {name: operation}, at, EACH)


# -- what only one side changed --------------------------------------------------------------------------


def test_what_nobody_else_changed_is_taken_without_a_decision() -> None:
    edit: Edit = {
        "name": Put("Boot"),
        "price": Put(12),
        "brand": Put("Zenith"),
        "tags": Members(frozenset("x"), frozenset()),
    }
    merged = merge(server(), edit, EARLY, EACH)
    assert merged.patch == {"name": "Boot", "price": 12, "brand": "Zenith", "tags": ["new", "x"]}
    assert not merged.decisions


def test_edits_of_different_fields_merge() -> None:
    merged = one("name", Put("Boot"), EARLY, server(price=99, brand="Zenith"))
    assert (merged.patch, merged.decisions) == ({"name": "Boot"}, [])


def test_both_doing_the_same_is_no_conflict() -> None:
    merged = one("price", Put(12), EARLY, server(price=12))
    assert (merged.patch, merged.decisions) == ({}, [])


def test_a_value_that_was_changed_and_changed_back_was_changed() -> None:
    merged = one("price", Put(12), LATER, server({"price": LATE}))
    assert merged.open, "two writes of others lie in between, even though the value is the base's"


# -- what both changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "at", "winner", "patch"),
    [
        ("name", EARLY, "ours", {}),
        ("name", LATER, "theirs", {"name": "B"}),
        ("price", LATER, None, {}),
        ("brand", LATER, "ours", {}),
        ("color", EARLY, "theirs", {"color": "B"}),
    ],
)
def test_policies_decide(name: str, at: Stamp, winner: str | None, patch: dict[str, Any]) -> None:
    changed: dict[str, Any] = {name: "A"}
    it = server(None, **changed)
    merged = one(name, Put("B"), at, it)
    assert merged.patch == patch
    [decision] = merged.decisions
    assert (decision.field, decision.base, decision.ours, decision.theirs, decision.winner) == (
        name, BASE[name], "A", "B", winner,
    )  # fmt: skip
    assert merged.open is (winner is None)


def test_an_open_field_holds_up_no_other() -> None:
    merged = merge(server(price=9), {"price": Put(12), "name": Put("Boot")}, LATER, EACH)
    assert merged.patch == {"name": "Boot"}
    assert merged.open


def test_counters_add_up() -> None:
    merged = one("stock", Delta(-2), EARLY, server(stock=1))
    assert (merged.deltas, merged.decisions[0].winner) == ({"stock": -2}, "both")


def test_a_counter_is_never_set_and_nothing_else_is_moved() -> None:
    with pytest.raises(EditRefused, match="stock is a counter"):
        one("stock", Put(7), LATER, server())
    with pytest.raises(EditRefused, match="name is no counter"):
        one("name", Delta(1), LATER, server())


def test_what_changes_nothing_at_its_base_is_no_edit() -> None:
    for edit in ({"name": Put("Shirt")}, {"tags": Members(frozenset({"new"}), frozenset({"x"}))}):
        merged = merge(server(name="Boot", tags=[]), edit, LATER, EACH)
        assert (merged.patch, merged.stamps, merged.decisions) == ({}, {}, [])


def test_true_is_not_one() -> None:
    it = Server({"flag": True}, {"flag": True}, {})
    assert one("flag", Put(1), LATER, it).patch == {"flag": 1}
    assert one("price", Put(10.0), LATER, server()).patch == {}


def test_a_list_that_is_no_set_of_texts_is_a_plain_value() -> None:
    assert one("tags", Put([1, 2]), LATER, server()).patch == {"tags": [1, 2]}
    with pytest.raises(EditRefused, match="no list of texts"):
        one("tags", Members(frozenset({"x"}), frozenset()), LATER, Server({"tags": [1]}, {"tags": [1]}, {}))


def test_a_set_without_a_base_loses_what_is_not_in_it() -> None:
    merged = one("tags", Put(["x"]), LATER, Server(BASE, None, {}))
    assert merged.patch == {"tags": ["x"]}
    assert merged.decisions


def test_a_stamp_that_is_nobody_s_is_not_kept() -> None:
    """It could not be read back; when an unstamped write was is known from the row."""
    it = Server(BASE | {"name": "Boot"}, BASE, {"name": Stamp(5000)})
    assert one("name", Put("Boot"), EARLY, it).stamps == {}


def test_attributes_are_edited_key_by_key() -> None:
    """As a whole they would overrule what others did to other keys."""
    with pytest.raises(EditRefused, match="key by key"):
        one("attributes", Put({"color": "red"}), LATER, server())


def test_sets_take_what_both_added_and_removed() -> None:
    merged = one("tags", Members(frozenset({"sale"}), frozenset()), EARLY, server(tags=["summer"]))
    assert merged.patch == {"tags": ["sale", "summer"]}, "without `new`, which the other side removed"


def test_a_set_that_is_set_means_what_it_adds_and_removes() -> None:
    merged = one("tags", Put(["new", "sale"]), EARLY, server(tags=["new", "summer"]))
    assert merged.patch == {"tags": ["new", "sale", "summer"]}


def test_an_element_that_one_adds_and_another_removes_goes_by_the_later_stamp() -> None:
    """Others added it and took it out again since the base."""
    removed = server({element_key("tags", "sale"): LATE, "tags": LATE})
    add = Members(frozenset({"sale"}), frozenset())
    lost = one("tags", add, EARLY, removed)
    assert (lost.patch, [each.winner for each in lost.decisions]) == ({}, ["ours"])
    assert one("tags", add, LATER, removed).patch == {"tags": ["new", "sale"]}


def test_without_a_base_every_field_that_differs_is_decided() -> None:
    it = Server(BASE, None, {}, written=LATE)
    merged = merge(it, {"name": Put("Boot"), "price": Put(10), "brand": Put("Acme")}, LATER, EACH)
    assert merged.patch == {"name": "Boot"}
    assert [decision.field for decision in merged.decisions] == ["name"]
    assert one("name", Put("Boot"), EARLY, it).decisions[0].winner == "ours"
    tags = one("tags", Members(frozenset({"x"}), frozenset()), LATER, it)
    assert tags.patch == {"tags": ["new", "x"]}, "what is there stays"


# -- deletions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "at", "deletes"),
    [
        ("manual", LATER, False),
        ("server_wins", LATER, False),
        ("client_wins", EARLY, True),
        ("last_write", EARLY, False),
        ("last_write", LATER, True),
    ],
)
def test_a_deletion_of_what_was_changed(policy: Policy, at: Stamp, deletes: bool) -> None:
    merged = merge_deletion(server(name="Boot"), at, Policies({DELETED: policy}))
    assert merged.delete is deletes
    assert merged.open is (policy == "manual")
    assert merged.decisions[0].ours == {"name": "Boot"}


def test_a_deletion_of_what_nobody_changed_or_what_is_gone_needs_no_decision() -> None:
    assert merge_deletion(server(), EARLY, EACH) == Merge(delete=True)
    assert merge_deletion(server(deleted_at="2026"), EARLY, EACH) == Merge()


@pytest.mark.parametrize(
    ("policy", "restores"),
    [("manual", False), ("server_wins", False), ("client_wins", True), ("last_write", True)],
)
def test_an_edit_of_what_was_deleted_meanwhile(policy: Policy, restores: bool) -> None:
    it = server(deleted_at="2026")
    merged = merge(it, {"name": Put("Boot")}, LATER, Policies({DELETED: policy}))
    assert merged.restore is restores
    assert merged.patch == ({"name": "Boot"} if restores else {})
    assert merged.decisions[0].theirs == {"name": "Boot"}


def test_what_was_deleted_before_it_was_edited_is_refused() -> None:
    it = Server(BASE | {DELETED: "2026"}, BASE | {DELETED: "2026"}, {})
    with pytest.raises(EditRefused, match="deleted before"):
        merge(it, {"name": Put("Boot")}, LATER, EACH)


# -- whatever the order ----------------------------------------------------------------------------------


@dataclass
class Register:
    """A server in little: a row at version 1 that everybody knew, and what was merged into it since."""

    policies: Policies
    fields: dict[str, Any] = field(default_factory=lambda: {"name": 0, "stock": 0, "tags": ["a", "b"]})
    touched: dict[str, Stamp] = field(default_factory=dict)
    seen: set[Stamp] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.base = dict(self.fields)

    def take(self, edit: Edit, stamp: Stamp) -> None:
        merged = merge(Server(self.fields, self.base, self.touched), edit, stamp, self.policies)
        self.fields |= merged.patch
        if stamp not in self.seen:  # as the id of a change does
            for name, by in merged.deltas.items():
                self.fields[name] += by
        self.seen.add(stamp)
        self.touched |= merged.stamps
        self.touched |= {name.partition("\x1f")[0]: stamp for name in merged.stamps if is_element(name)}


OPERATIONS = {
    "name": st.integers(0, 5).map(Put),
    "stock": st.integers(-3, 3).map(Delta),
    # everybody knew a and b: some of these change nothing, and are no edits
    "tags": st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))).map(
        lambda sets: Members(frozenset(sets[0] - sets[1]), frozenset(sets[1] - sets[0]))
    ),
}
EDITS = st.fixed_dictionaries({}, optional=OPERATIONS)
CHANGES = st.lists(EDITS, min_size=2, max_size=4)
COMMUTING = Policies({"name": "last_write", "stock": "counter", "tags": "set"})


def outcome(changes: Sequence[tuple[Edit, Stamp]]) -> dict[str, Any]:
    register = Register(COMMUTING)
    for edit, stamp in changes:
        register.take(edit, stamp)
    return register.fields | {"tags": elements(register.fields["tags"])}


@given(edits=CHANGES, clocks=st.permutations(range(4)))
@settings(max_examples=300, deadline=None)
def test_last_write_counter_and_set_commute_and_associate(edits: list[Edit], clocks: list[int]) -> None:
    """Changes to one base come out alike in every order, so also however they are grouped on the way."""
    changes = [(edit, Stamp(1000 + clocks[n], 0, f"client-{n}")) for n, edit in enumerate(edits)]
    outcomes = [outcome(order) for order in itertools.permutations(changes)]
    assert all(each == outcomes[0] for each in outcomes)


@given(edits=CHANGES, again=st.lists(st.integers(0, 3), max_size=4))
@settings(max_examples=300, deadline=None)
def test_last_write_counter_and_set_are_idempotent(edits: list[Edit], again: list[int]) -> None:
    changes = [(edit, Stamp(1000 + n, 0, f"client-{n}")) for n, edit in enumerate(edits)]
    repeated = [changes[n] for n in again if n < len(changes)]
    assert outcome([*changes, *repeated]) == outcome(changes)


@given(edits=CHANGES)
@settings(max_examples=300, deadline=None)
def test_an_edit_that_meets_no_other_is_never_lost(edits: list[Edit]) -> None:
    """Each field that only one of them edits ends as that one wants it."""
    changes = [(edit, Stamp(1000 + n, 0, f"client-{n}")) for n, edit in enumerate(edits)]
    found = outcome(changes)
    for name in ("name", "stock", "tags"):
        editors = [edit for edit in edits if name in edit]
        if len(editors) == 1:
            match editors[0][name]:
                case Put(value):
                    assert found[name] == value
                case Delta(by):
                    assert found[name] == by
                case Members(add, remove):
                    assert found[name] == ({"a", "b"} - remove) | add


def test_a_merge_that_compares_values_alone_depends_on_the_order() -> None:
    """The naive one, "whoever comes last wins", is caught by the properties above."""

    def naive(changes: Sequence[tuple[Edit, Stamp]]) -> Any:
        value = 0
        for edit, _ in changes:
            operation = edit["name"]
            assert isinstance(operation, Put)
            value = operation.value
        return value

    changes: list[tuple[Edit, Stamp]] = [({"name": Put(1)}, EARLY), ({"name": Put(2)}, LATE)]
    assert naive(changes) != naive(changes[::-1])
    assert outcome(changes) == outcome(changes[::-1])
