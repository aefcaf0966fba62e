"""The order of an export."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from worker.catalogue.order import Placed, in_file_order


def _chain(*handles: str) -> list[Placed]:
    return [
        Placed(handle, handle, handle, before)
        for before, handle in zip((None, *handles), handles, strict=False)
    ]


def test_products_follow_each_other_as_in_their_file() -> None:
    chain = _chain("z", "m", "a", "q")
    shuffled = random.Random(4).sample(chain, len(chain))
    assert in_file_order(shuffled) == chain


def test_others_come_last_by_sku() -> None:
    mine = [Placed("2", "b"), Placed("1", "a")]
    assert [place.sku for place in in_file_order([*mine, *_chain("z")])] == ["z", "a", "b"]


def test_a_chain_that_lost_a_link_goes_on_after_the_whole_ones() -> None:
    one, _, three, four = _chain("d", "c", "b", "a")
    assert [place.id for place in in_file_order([four, three, one])] == ["d", "b", "a"]


def test_a_chain_of_a_hundred_thousand_is_no_recursion() -> None:
    chain = _chain(*map(str, range(100_000)))
    assert in_file_order(chain[::-1]) == chain


@given(
    st.lists(st.tuples(st.none() | st.sampled_from("abcd"), st.none() | st.sampled_from("abcde")), max_size=8)
)
def test_every_product_comes_once_however_muddled_the_places(
    places: list[tuple[str | None, str | None]],
) -> None:
    placed = [Placed(str(n), str(n), handle, after) for n, (handle, after) in enumerate(places)]
    assert sorted(place.id for place in in_file_order(placed)) == sorted(place.id for place in placed)
