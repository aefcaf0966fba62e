"""The order of products in an export: as in the files they came from, then all others by SKU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placed:
    """A product's place: its handle and the handle before it; `handle` None: it came from no CSV."""

    id: str
    sku: str
    handle: str | None = None
    after: str | None = None


def in_file_order(products: Sequence[Placed]) -> list[Placed]:
    """Every product once: each after the one it follows, broken chains after whole ones."""
    known = {product.handle for product in products if product.handle is not None}
    followers: dict[str | None, list[Placed]] = defaultdict(list)
    for product in sorted(products, key=lambda p: (p.handle or "", p.sku)):
        if product.handle is not None:
            followers[product.after if product.after in known else None].append(product)
    starts = sorted(followers.pop(None, []), key=lambda p: p.after is not None)
    ordered: dict[str, Placed] = {}
    # what an edit by hand made circular is started anywhere, so that nothing is left out
    rest = (product for each in list(followers.values()) for product in each)
    for start in (*starts, *rest):
        _follow(start, followers, ordered)
    for product in sorted(products, key=lambda p: p.sku):
        ordered.setdefault(product.id, product)
    return list(ordered.values())


def _follow(start: Placed, followers: dict[str | None, list[Placed]], ordered: dict[str, Placed]) -> None:
    stack: list[Placed] = [start]
    while stack:
        product = stack.pop()
        if product.id not in ordered:
            ordered[product.id] = product
            stack += reversed(_of(followers, product.handle))


def _of(followers: dict[str | None, list[Placed]], handle: str | None) -> list[Placed]:
    return followers.get(handle, [])
