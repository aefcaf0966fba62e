"""docs/api/openapi.json, the document that the function serves, and docs/api/index.html, the same as a page.

Compared by `make check` and rewritten by `--update`, like the snapshots. The page stands for itself: it needs
no network, and no script but for its search.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from tests.check.api_schemas import described, fields_table, kind_of, pretty
from tests.check.snapshots import difference
from tests.stack.paths import ROOT
from tests.stack.scripts import deno_environment

FOLDER = ROOT / "docs" / "api"
TEMPLATE = Path(__file__).with_name("api_page.html")
Document: TypeAlias = dict[str, Any]


def check_api_docs(*, update: bool) -> str | None:
    """None if docs/api is what the function says, else the difference."""
    try:
        document = read_document()
    except subprocess.SubprocessError as error:
        return f"the OpenAPI document cannot be made: {error}\n{getattr(error, 'stderr', '')}"
    files = {
        FOLDER / "openapi.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        FOLDER / "index.html": page(document),
    }
    if update:
        for path, text in files.items():
            path.write_text(text)
        return None
    found = (difference(path, text, source="the function") for path, text in files.items())
    return "\n\n".join(filter(None, found)) or None


def read_document() -> Document:
    """As the function makes it, for a project of an example's name. Raises `SubprocessError`."""
    deno = str(ROOT / ".venv" / "bin" / "deno")
    config = ["--config", "functions/deno.json", "--frozen", "--cached-only"]
    done = subprocess.run(
        [deno, "run", "--quiet", *config, "--allow-env", "--allow-read", "tests/check/openapi.ts"],
        cwd=ROOT,
        env=deno_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    document: Document = json.loads(done.stdout)
    return document


def page(document: Document) -> str:
    tags: dict[str, list[tuple[str, str, Document]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    parts = {
        "title": escape(document["info"]["title"]),
        "version": escape(document["info"]["version"]),
        "about": described(document["info"]["description"]),
        "server": escape(document["servers"][0]["url"]),
        "signing": "\n".join(_signing(document)),
        "menu": "\n".join(_menu(tags)),
        "operations": "\n".join(_sections(tags, document)),
        "schemas": "\n".join(_schemas(document)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], TEMPLATE.read_text())


def _signing(document: Document) -> Iterator[str]:
    yield "<table><tbody>"
    for scheme in document["components"]["securitySchemes"].values():
        words = described(scheme["description"])
        yield f"<tr><td><code>{escape(scheme['name'])}</code></td><td>{words}</td></tr>"
    yield "</tbody></table>"


def _menu(tags: Mapping[str, list[tuple[str, str, Document]]]) -> Iterator[str]:
    for tag, operations in tags.items():
        yield f"<h2>{escape(tag)}</h2><ul>"
        for method, path, operation in operations:
            link = f"#{escape(operation['operationId'])}"
            yield (f'<li><a href="{link}">{_pill(method)}<span>{escape(_short(path))}</span></a></li>')
        yield "</ul>"


def _sections(tags: Mapping[str, list[tuple[str, str, Document]]], document: Document) -> Iterator[str]:
    for tag, operations in tags.items():
        yield f'<section class="tag"><h2>{escape(tag)}</h2>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation, document)
        yield "</section>"


def _operation(method: str, path: str, operation: Document, document: Document) -> Iterator[str]:
    name = escape(operation["operationId"])
    yield f'<article class="operation" id="{name}"><div class="words">'
    yield f'<h3><a href="#{name}">{escape(operation["summary"])}</a></h3>'
    yield f'<p class="path">{_pill(method)}<code>{escape(path)}</code></p>'
    yield described(operation.get("description", ""))
    if not operation["security"]:
        yield '<p class="note">Needs no key.</p>'
    for place, title in (("path", "Path"), ("query", "Query"), ("header", "Headers")):
        asked = {each["name"]: each for each in operation.get("parameters", []) if each["in"] == place}
        if asked:
            schemas = {
                name: {**each["schema"], "description": each.get("description", "")}
                for name, each in asked.items()
            }
            needed = {name for name, each in asked.items() if each.get("required")}
            yield f"<h4>{title}</h4>{fields_table(schemas, needed)}"
    body = _json_of(operation.get("requestBody", {}))
    if body:
        yield f"<h4>Body</h4><p>{kind_of(body['schema'])}</p>"
    yield "<h4>Answers</h4>" + "\n".join(_answers(operation))
    yield '</div><div class="examples">' + "\n".join(_examples(method, path, operation, document))
    yield "</div></article>"


def _answers(operation: Document) -> Iterator[str]:
    yield '<table class="answers"><tbody>'
    for status, answer in operation["responses"].items():
        content = _json_of(answer)
        is_problem = "application/problem+json" in answer.get("content", {})
        words = answer["description"].partition(": ")[2] if is_problem else answer["description"]
        shape = f" · {kind_of(content['schema'])}" if content else ""
        told = described(words, inline=True) + shape
        yield f'<tr class="s{status[0]}"><td><b>{status}</b></td><td>{told}</td></tr>'
    yield "</tbody></table>"


def _examples(method: str, path: str, operation: Document, document: Document) -> Iterator[str]:
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
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<details id="schema-{escape(name)}"><summary>{escape(name)}</summary>'
        yield described(schema.get("description", ""))
        yield fields_table(schema.get("properties", {}), set(schema.get("required", ()))) + "</details>"


def _json_of(told: Document) -> Document:
    found: Document = told.get("content", {}).get("application/json", {})
    return found


def _pill(method: str) -> str:
    return f'<b class="method {method.lower()}">{method if method != "DELETE" else "DEL"}</b>'


def _short(path: str) -> str:
    return path.removeprefix("/pms/v1")
