"""The reference of the API: an OpenAPI document as one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, TypeAlias

from tests.check.api_errors import Meaning, codes_of, meanings
from tests.check.api_frame import framed, menu_group
from tests.check.api_schemas import Named, described, fields_of, fields_table, kind_of, pretty

Document: TypeAlias = dict[str, Any]
Operations: TypeAlias = Mapping[str, list[tuple[str, str, Document]]]

_MORE = (
    ("guide.html", "<span>Guide and first call</span>"),
    ("#signing", "<span>Signing</span>"),
    ("#codes", "<span>Codes of refusals</span>"),
    ("#schemas", "<span>Schemas</span>"),
    ("openapi.json", "<span>openapi.json</span>"),
)


def reference_html(document: Document, errors: str) -> str:
    """`errors` is docs/errors.md, which says what codes mean. Raises `KeyError` for a code that it lacks."""
    tags: dict[str, list[tuple[str, str, Document]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    main = [*_about(document), *_signing(document), *_sections(tags, document)]
    main += [*_codes(tags, meanings(errors)), *_schemas(document)]
    return framed(title="PMS API", menu="\n".join(_menu(tags)), main="\n".join(main))


def _about(document: Document) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{escape(info['title'])} API</h1>"
    where = f"<code>{escape(document['servers'][0]['url'])}</code>"
    yield f'<p class="version">Version {escape(info["version"])}, at {where}</p>'
    yield f'<div class="intro">{described(info["description"])}'
    yield (
        '<p>The <a href="guide.html">guide</a> has a first signed call to copy and paste, clients for Python'
        " and TypeScript, and how pages, versions, repeats and limits work.</p></div>"
    )


def _signing(document: Document) -> Iterator[str]:
    yield '<section class="signing" id="signing"><h2>Signing</h2><table><tbody>'
    for scheme in document["components"]["securitySchemes"].values():
        words = described(scheme["description"])
        yield f"<tr><td><code>{escape(scheme['name'])}</code></td><td>{words}</td></tr>"
    yield "</tbody></table></section>"


def _menu(tags: Operations) -> Iterator[str]:
    for tag, operations in tags.items():
        entries = []
        for method, path, operation in operations:
            words = f"{_pill(method)}<span>{escape(path.removeprefix('/pms/v1'))}</span>"
            entries.append((f"#{operation['operationId']}", words))
        yield menu_group(tag, entries)
    yield menu_group("More", _MORE, always=True)


def _sections(tags: Operations, document: Document) -> Iterator[str]:
    for tag, operations in tags.items():
        yield f'<section class="tag"><h2>{escape(tag)}</h2>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation, document["components"]["schemas"])
        yield "</section>"


def _operation(method: str, path: str, operation: Document, named: Named) -> Iterator[str]:
    name = escape(operation["operationId"])
    yield f'<article class="operation" id="{name}"><div class="words">'
    yield f'<h3><a href="#{name}">{escape(operation["summary"])}</a></h3>'
    yield f'<p class="path">{_pill(method)}<code>{escape(path)}</code></p>'
    yield described(operation.get("description", ""))
    if not operation["security"]:
        yield '<p class="note">Needs no key.</p>'
    for place, title in (("path", "Path"), ("query", "Query"), ("header", "Headers")):
        asked = {_shown(each): each for each in operation.get("parameters", []) if each["in"] == place}
        if asked:
            schemas = {
                name: {**each["schema"], "description": each.get("description", "")}
                for name, each in asked.items()
            }
            needed = {name for name, each in asked.items() if each.get("required")}
            yield f"<h4>{title}</h4>{fields_table(schemas, needed)}"
    body = _json_of(operation.get("requestBody", {}))
    if body:
        yield f"<h4>Body, JSON</h4>{fields_of(body['schema'], named)}"
    yield "<h4>Answers</h4>" + "\n".join((*_answers(operation), *_refusals(operation)))
    yield '</div><div class="examples">' + "\n".join(_examples(method, path, operation))
    yield "</div></article>"


def _shown(parameter: Document) -> str:
    """Headers as everybody writes them; the document has them as they are looked up."""
    name = str(parameter["name"])
    return name.title() if parameter["in"] == "header" else name


def _is_problem(answer: Document) -> bool:
    return "application/problem+json" in answer.get("content", {})


def _answers(operation: Document) -> Iterator[str]:
    headers: dict[str, Document] = {}
    yield '<table class="answers"><tbody>'
    for status, answer in operation["responses"].items():
        if _is_problem(answer):
            continue
        headers |= answer.get("headers", {})
        content = _json_of(answer)
        shape = f" · {kind_of(content['schema'])}" if content else ""
        told = described(answer["description"], inline=True) + shape
        yield f'<tr class="s{status[0]}"><td><b>{status}</b></td><td>{told}</td></tr>'
    yield "</tbody></table>"
    schemas = {name: {**each["schema"], "description": each["description"]} for name, each in headers.items()}
    names = ", ".join(name for name in schemas if name not in ("X-Request-Id", "API-Version"))
    words = f"Headers of answers <small>{escape(names)}</small>"
    yield f"<details><summary>{words}</summary>{fields_table(schemas, ())}</details>"


def _refusals(operation: Document) -> Iterator[str]:
    """Folded: nearly all of them are the same for all routes. Each code leads to what it means."""
    refused = {status: each for status, each in operation["responses"].items() if _is_problem(each)}
    words = f"Refusals <small>{' '.join(refused)}</small>"
    yield f'<details><summary>{words}</summary><table class="answers"><tbody>'
    for status, answer in refused.items():
        links = ", ".join(_code(code) for code in codes_of(answer["description"]))
        yield f'<tr class="s{status[0]}"><td><b>{status}</b></td><td>{links}</td></tr>'
    yield "</tbody></table></details>"


def _code(code: str) -> str:
    return f'<a href="#code-{escape(code)}"><code>{escape(code)}</code></a>'


def _codes(tags: Operations, known: Mapping[str, Meaning]) -> Iterator[str]:
    statuses: dict[str, set[str]] = {}
    for operations in tags.values():
        for _, _, operation in operations:
            for status, answer in operation["responses"].items():
                for code in codes_of(answer["description"]) if _is_problem(answer) else ():
                    statuses.setdefault(code, set()).add(status)
    yield '<section class="codes" id="codes"><h2>Codes of refusals</h2>'
    yield "<p>The code of a problem document, when it comes, and what to do then.</p><table><tbody>"
    for code in sorted(statuses):
        when, what = (described(text, inline=True) for text in known[code])
        numbers = ", ".join(sorted(statuses[code]))
        yield f'<tr id="code-{escape(code)}"><td><code>{escape(code)}</code> <small>{numbers}</small></td>'
        yield f"<td>{when}<br><b>→</b> {what}</td></tr>"
    yield "</tbody></table></section>"


def _examples(method: str, path: str, operation: Document) -> Iterator[str]:
    parameters = operation.get("parameters", [])
    target = path
    shown: list[str] = []
    for each in parameters:
        example = each.get("example", each["schema"].get("example"))
        if each["in"] == "path" and example is not None:
            target = target.replace("{" + each["name"] + "}", str(example))
        elif each["in"] == "query" and each["name"] != "fields" and example is not None and len(shown) < 2:
            shown.append(f"{each['name']}={example}")
    line = f"{method} {target}" + (f"?{'&'.join(shown)}" if shown else "")
    body = _json_of(operation.get("requestBody", {}))
    sent = f"\n\n{pretty(body['example'])}" if body and "example" in body else ""
    yield f"<figure><figcaption>Request</figcaption><pre>{escape(line)}{sent}</pre></figure>"
    for status, answer in operation["responses"].items():
        content = _json_of(answer)
        if status.startswith("2") and content and "example" in content:
            text = pretty(content["example"])
            yield f"<figure><figcaption>Answer {status}</figcaption><pre>{text}</pre></figure>"


def _schemas(document: Document) -> Iterator[str]:
    yield '<section class="schemas" id="schemas"><h2>Schemas</h2>'
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<details id="schema-{escape(name)}"><summary>{escape(name)}</summary>'
        yield described(schema.get("description", ""))
        yield fields_table(schema.get("properties", {}), set(schema.get("required", ()))) + "</details>"
    yield "</section>"


def _json_of(told: Document) -> Document:
    found: Document = told.get("content", {}).get("application/json", {})
    return found


def _pill(method: str) -> str:
    return f'<b class="method {method.lower()}">{method if method != "DELETE" else "DEL"}</b>'
