"""The frame of the pages of docs/api: their look, the menu beside them, the search."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

TEMPLATE = Path(__file__).with_name("api_page.html")


def framed(*, title: str, menu: str, main: str) -> str:
    parts = {"title": escape(title), "menu": menu, "main": main}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], TEMPLATE.read_text())


def menu_group(title: str, entries: Iterable[tuple[str, str]], *, always: bool = False) -> str:
    """A heading and links: addresses, and what they say as HTML. `always`: whatever is searched for."""
    links = "".join(f'<li><a href="{escape(address)}">{words}</a></li>' for address, words in entries)
    mark = ' class="always"' if always else ""
    return f"<section{mark}><h2>{escape(title)}</h2><ul>{links}</ul></section>"
