"""Checksums of ranges: against a server that is played here, with every kind of difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sync.interleaving import run
from worker.gateway.pms import Differences, Part, StoredRow
from worker.sync.reconcile import Sums, difference

VERSIONS = st.dictionaries(st.integers(0, 3000), st.integers(1, 4), max_size=900)


def named(numbers: Mapping[int, int]) -> dict[str, int]:
    return {f"{n:08}": version for n, version in numbers.items()}


class Server:
    """`report_state` by the letter of docs/pms-guide.md, in the smallest way."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self.versions, self.calls = versions, 0

    async def report(self, ranges: Sequence[Mapping[str, Any]]) -> Differences:
        self.calls += 1
        assert 1 <= len(ranges) <= 64
        assert sum(len(each.get("rows", ())) for each in ranges) <= 1000
        bounds = [(each["after"] or "", each["through"] or "~") for each in ranges]
        assert all(one[1] <= other[0] for one, other in pairwise(bounds))
        parts: list[Part] = []
        rows: list[StoredRow] = []
        gone: list[str] = []
        for each, (low, high) in zip(ranges, bounds, strict=True):
            there = {key: it for key, it in sorted(self.versions.items()) if low < key <= high}
            if "rows" in each:
                rows += [StoredRow(k, v, b"") for k, v in there.items() if each["rows"].get(k) != v]
                gone += [key for key in each["rows"] if key not in there]
            elif (each["count"], each["checksum"]) != Sums(there).of(None, None):
                parts += _split(each, there)
        return Differences(parts, rows, gone)


def _split(asked: Mapping[str, Any], there: Mapping[str, int]) -> list[Part]:
    if len(there) <= 100:
        return [Part(asked["after"], asked["through"], leaf=True)]
    keys, size = list(there), -(-len(there) // 16)
    cuts = [keys[n - 1] for n in range(size, len(keys), size)]
    edges = [asked["after"], *cuts, asked["through"]]
    sums = Sums(there)
    return [Part(low, high, *sums.of(low, high)) for low, high in pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(VERSIONS, VERSIONS)
def test_whatever_differs_is_found(mine: dict[int, int], theirs: dict[int, int]) -> None:
    copy, there = named(mine), named(theirs)
    found = run(difference(copy, Server(there).report))
    mended = {key: version for key, version in copy.items() if key not in found.gone}
    mended |= {row.id: row.version for row in found.rows}
    assert mended == there


@pytest.mark.parametrize("count", [0, 1, 99, 5000])
def test_what_is_right_takes_one_call_and_one_wrong_row_few(count: int) -> None:
    copy = named(dict.fromkeys(range(count), 1))
    server = Server(copy)
    assert not run(difference(copy, server.report)).rows
    assert server.calls == 1
    if count:
        server = Server({**copy, f"{count // 2:08}": 2})
        [row] = run(difference(copy, server.report)).rows
        assert (row.id, row.version) == (f"{count // 2:08}", 2)
        assert server.calls <= 4


def test_the_checksum_is_what_the_guide_says() -> None:
    number = int.from_bytes(sha256(b"x:7").digest()[:8], "big")
    assert Sums({"x": 7}).of(None, None) == (1, f"{number:016x}")
    assert Sums({}).of(None, None) == (0, "0" * 16)
