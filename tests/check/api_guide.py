"""docs/api/README.md as a page, since a browser shows Markdown as it stands."""

from __future__ import annotations

import re
from html import escape

from markdown_it import MarkdownIt

from tests.check.api_frame import framed, menu_group

_MORE = menu_group("More", [("index.html", "<span>Reference of all routes</span>")], always=True)


def guide_html(text: str) -> str:
    """Headings have the names that links in Markdown give them: `#make-a-key`."""
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r"<h2>(.*?)</h2>", _heading, body)
    menu = menu_group(
        "The guide", [(f"#{_anchor(title)}", f"<span>{escape(title)}</span>") for title in titles]
    )
    main = f'<article class="guide">{body}</article>'
    return framed(title="PMS API, the guide", menu=menu + _MORE, main=main)


def _heading(match: re.Match[str]) -> str:
    return f'<h2 id="{_anchor(match[1])}">{match[1]}</h2>'


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
