"""Hybrid logical clocks: their order, their text, and how far they may run ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sync.stamp import MAX_DRIFT, HybridClock, Stamp

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
STAMPS = st.builds(
    Stamp, st.integers(0, 10**13 - 1), st.integers(0, 9999), st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
)


@given(one=STAMPS, other=STAMPS)
def test_text_orders_as_stamps_do_and_reads_back(one: Stamp, other: Stamp) -> None:
    assert Stamp.parse(str(one)) == one
    assert (str(one) < str(other)) == (one < other)


@pytest.mark.parametrize("text", ["", "1-2-3", "1764201600123-0000-", "1764201600123-0000-a b", "x" * 300])
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a stamp"):
        Stamp.parse(text)


def test_a_clock_that_runs_ahead_is_cut() -> None:
    ahead = Stamp.at(NOW + timedelta(days=365))._replace(client="till")
    assert ahead.bounded(NOW) == Stamp.at(NOW + MAX_DRIFT)._replace(client="till")
    within = Stamp.at(NOW + timedelta(seconds=59))
    assert within.bounded(NOW) == within


def test_stamps_of_a_client_grow_even_when_its_clock_stands_or_goes_back() -> None:
    wall = [NOW]
    clock = HybridClock("till", lambda: wall[0])
    stamps = [clock.stamp() for _ in range(10_002)]
    wall[0] = NOW - timedelta(hours=1)
    stamps.append(clock.stamp())
    wall[0] = NOW + timedelta(hours=1)
    stamps.append(clock.stamp())
    assert stamps == sorted(set(stamps))
    assert all(Stamp.parse(str(stamp)) == stamp for stamp in stamps)


def test_what_was_seen_is_earlier_than_what_comes_next() -> None:
    clock = HybridClock("till", lambda: NOW)
    seen = Stamp.at(NOW + timedelta(seconds=30))._replace(client="other")
    clock.saw(seen)
    assert clock.stamp() > seen
