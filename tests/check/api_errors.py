"""What codes mean, of the tables of docs/errors.md."""

from __future__ import annotations

import re
from typing import NamedTuple


class Meaning(NamedTuple):
    when: str
    what_to_do: str


def meanings(errors: str) -> dict[str, Meaning]:
    """By code, as Markdown. Of two tables that have a code the later counts: the function's own."""
    found: dict[str, Meaning] = {}
    for head, rows in re.findall(
        r"^\| ((?:message|code) \|.*)\n\|[-| ]+\n((?:\|.*\n)+)", errors, re.MULTILINE
    ):
        names = _cells(head)
        if not {"when", "what to do"} <= set(names):
            continue
        for row in rows.splitlines():
            cells = dict(zip(names, _cells(row.strip("| ")), strict=False))
            codes = re.findall(r"`([a-z_]+\.[a-z_]+|internal)`", _cells(row.strip("| "))[0])
            found |= dict.fromkeys(codes, Meaning(cells["when"], cells["what to do"]))
    # no row of the tables: the names of constraints, as errors.md says
    found.setdefault(
        "product.sku_living",
        Meaning("a living product has this SKU", "change that one, or choose another SKU"),
    )
    return found


def codes_of(description: str) -> list[str]:
    """Of a refusal of the document: "Conflict: `a.b`, `c.d`"."""
    return re.findall(r"`([a-z_.]+)`", description)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]
