"""JSON Schemas, examples and the little Markdown of descriptions, as HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from html import escape
from typing import Any, Final

_RANGES: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " of them"),
)
_REF: Final = "#/components/schemas/"
# what is longer is read by programs; its description says the same to people
_LONGEST_PATTERN: Final = 80


def fields_table(schemas: Mapping[str, dict[str, Any]], needed: Collection[str]) -> str:
    """A row for each field: name, kind, limits and description."""
    rows = []
    for name, schema in schemas.items():
        mark = ' <span class="needed">required</span>' if name in needed else ""
        words = described(schema.get("description", ""), inline=True)
        limits = " · ".join(filter(None, [kind_of(schema), *_limits(schema)]))
        nested = _nested(schema)
        rows.append(
            f"<tr><td><code>{escape(name)}</code>{mark}</td>"
            f'<td><span class="kind">{limits}</span>{"<br>" + words if words else ""}{nested}</td></tr>'
        )
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
        ends = [_text(schema[name]) for name in (least, most) if name in schema]
        if len(ends) == 2:
            yield " to ".join(ends) + unit
        elif ends:
            yield f"at {'least' if least in schema else 'most'} {ends[0]}{unit}"
    if "default" in schema:
        yield f"<code>{escape(_text(schema['default']))}</code> without it"
    if 0 < len(schema.get("pattern", "")) <= _LONGEST_PATTERN:
        yield f'<code class="pattern">{escape(schema["pattern"])}</code>'


def _nested(schema: Mapping[str, Any]) -> str:
    """The fields of an object, or of a list's objects, that have no name of their own."""
    inner = schema.get("items", schema)
    if not isinstance(inner, dict) or not inner.get("properties"):
        return ""
    return fields_table(inner["properties"], set(inner.get("required", ())))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
