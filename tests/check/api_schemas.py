"""JSON Schemas, examples and the little Markdown of descriptions, as HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from html import escape
from typing import Any, Final, TypeAlias

_RANGES: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " of them"),
)
_REF: Final = "#/components/schemas/"
Named: TypeAlias = Mapping[str, dict[str, Any]]
"""The schemas of a document that have a name."""


def fields_of(schema: Mapping[str, Any], named: Named) -> str:
    """What a body is: its fields, and those of the objects in it, whether they have a name or not."""
    whole = _resolved(schema, named)
    words = described(whole.get("description", ""))
    return words + fields_table(whole.get("properties", {}), set(whole.get("required", ())), named)


def fields_table(
    schemas: Mapping[str, dict[str, Any]], needed: Collection[str], named: Named | None = None
) -> str:
    """A row for each field: name, kind, limits and description. Named objects are links, unless `named`.

    Patterns are not shown: their descriptions say the same in words.
    """
    rows = []
    for name, schema in schemas.items():
        mark = ' <span class="needed">required</span>' if name in needed else ""
        words = described(schema.get("description", ""), inline=True)
        limits = " · ".join(filter(None, [kind_of(schema), *_limits(schema)]))
        nested = _nested(schema, named or {})
        rows.append(
            f"<tr><td><code>{escape(name)}</code>{mark}</td>"
            f'<td><span class="kind">{limits}</span>{"<br>" + words if words else ""}</td></tr>'
        )
        if nested:
            rows.append(f'<tr class="inner"><td colspan="2">{nested}</td></tr>')
    return f'<table class="fields"><tbody>{"".join(rows)}</tbody></table>' if rows else ""


def kind_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).removeprefix(_REF))
        return f'<a href="#schema-{name}">{name}</a>'
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(kind_of(each) for each in schema[union])
    if "enum" in schema:
        return " ".join(f"<code>{escape(_text(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(_text(schema['const']))}</code>"
    kinds = schema.get("type", "any JSON")
    names = kinds if isinstance(kinds, list) else [kinds]
    words = []
    for name in names:
        if name == "array":
            words.append(f"list of {kind_of(schema.get('items', {}))}")
        elif name == "string":
            words.append({"date-time": "time", "uuid": "uuid"}.get(schema.get("format", ""), "text"))
        else:
            words.append(escape(name))
    return " or ".join(words)


def described(text: str, *, inline: bool = False) -> str:
    """Paragraphs, `code`, and blocks of code that are indented by four."""
    if inline:
        return _inline(text)
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if block and all(line.startswith("    ") for line in block.splitlines()):
            parts.append(f"<pre>{escape(re.sub(r'^    ', '', block, flags=re.MULTILINE))}</pre>")
        elif block:
            parts.append(f"<p>{_inline(block)}</p>")
    return "".join(parts)


def pretty(example: Any) -> str:
    """JSON over lines, with its parts marked for colours."""
    text = escape(json.dumps(example, indent=2, ensure_ascii=False), quote=False)
    marked = re.sub(r'("(?:[^"\\]|\\.)*")(:?)', _string, text)
    return re.sub(
        r"(?<=[ \[])(-?\d[\d.]*|true|false|null)(?=[,\n\]]|$)", r'<span class="n">\1</span>', marked
    )


def _string(match: re.Match[str]) -> str:
    return f'<span class="{"k" if match[2] else "s"}">{match[1]}</span>{match[2]}'


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    for least, most, unit in _RANGES:
        # at least no character says nothing
        names = [
            name for name in (least, most) if name in schema and (name, schema[name]) != ("minLength", 0)
        ]
        ends = [f"{schema[name]:,}" for name in names]
        if len(ends) == 2:
            yield " to ".join(ends) + unit
        elif ends:
            yield f"at {'least' if least in names else 'most'} {ends[0]}{unit}"
    if "default" in schema:
        yield f"<code>{escape(_text(schema['default']))}</code> without it"


def _nested(schema: Mapping[str, Any], named: Named) -> str:
    """The fields of an object, or of a list's objects, that have no name of their own or are `named`."""
    inner = _resolved(schema.get("items", schema), named)
    return fields_table(inner.get("properties", {}), set(inner.get("required", ())), named)


def _resolved(schema: Any, named: Named) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    name = str(schema.get("$ref", "")).removeprefix(_REF)
    return named.get(name, schema)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
