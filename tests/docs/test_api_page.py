"""The pages of docs/api: no link of them leads nowhere, and what a route takes stands at the route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from tests.check.api_errors import codes_of
from tests.check.api_schemas import fields_of
from tests.stack.paths import ROOT

FOLDER = ROOT / "docs" / "api"
DOCUMENT: dict[str, Any] = json.loads((FOLDER / "openapi.json").read_text())
PAGE = (FOLDER / "index.html").read_text()
OPERATIONS = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}


def at_route(name: str) -> str:
    found = re.search(rf'<article class="operation" id="{name}">(.*?)</article>', PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("name", ["index.html", "guide.html"])
def test_each_link_leads_somewhere(name: str) -> None:
    text = (FOLDER / name).read_text()
    links = [unescape(link) for link in re.findall(r'<a[^>]* href="([^"]+)"', text)]
    assert len(links) > 20
    for file, _, anchor in (link.partition("#") for link in links if "://" not in link):
        there = FOLDER / file if file else FOLDER / name
        assert there.exists(), file
        if anchor and there.suffix == ".html":
            assert f'id="{anchor}"' in there.read_text(), f"{name} links to {file}#{anchor}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_fields_of_a_body_stand_at_its_route(name: str) -> None:
    content = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json")
    fields = set(re.findall(r"<tr><td><code>([\w-]+)</code>", at_route(name)))
    assert not content or body_fields(content["schema"]) <= fields


def body_fields(schema: Any) -> set[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    whole = DOCUMENT["components"]["schemas"].get(name, schema)
    properties = whole.get("items", whole).get("properties", {})
    if "items" in whole and not properties:
        return body_fields(whole["items"])
    return set(properties).union(*(body_fields(each) for each in properties.values()))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_refusal_of_a_route_leads_to_what_it_means(name: str) -> None:
    codes = {
        code
        for answer in OPERATIONS[name]["responses"].values()
        if "application/problem+json" in answer.get("content", {})
        for code in codes_of(answer["description"])
    }
    assert codes
    assert codes == set(re.findall(r'href="#code-([a-z_.]+)"', at_route(name)))
    rows = re.findall(
        r'<tr id="code-([a-z_.]+)">.*?</td>\s*<td>(.+?)<br><b>→</b> (.+?)</td>', PAGE, re.DOTALL
    )
    assert codes <= {code for code, when, what in rows if len(when) > 5 and len(what) > 5}


def test_a_code_comes_with_one_status_of_a_route() -> None:
    for name, operation in OPERATIONS.items():
        codes = [
            code for answer in operation["responses"].values() for code in codes_of(answer["description"])
        ]
        refusals = [code for code in codes if "." in code]
        assert len(refusals) == len(set(refusals)), name


def test_the_headers_of_an_answer_are_shown() -> None:
    for name, operation in OPERATIONS.items():
        (good,) = (answer for status, answer in operation["responses"].items() if status[0] == "2")
        assert all(f"<code>{header}</code>" in at_route(name) for header in good["headers"]), name


def forms(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part
        for each in part.values():
            yield from forms(each)
    elif isinstance(part, list):
        for each in part:
            yield from forms(each)


def test_each_form_that_a_request_must_have_is_said_in_words() -> None:
    asked = [
        {"description": each.get("description"), **each["schema"]}
        for operation in OPERATIONS.values()
        for each in operation.get("parameters", [])
    ]
    found = list(forms([asked, DOCUMENT["components"]["schemas"]]))
    assert len(found) > 20
    assert not [form for form in found if not form.get("description")]
    assert not re.search(r"\[A-Za|\{1,4\}\)", PAGE)


def test_fields_of_named_schemas_within_are_told_too() -> None:
    named = {"Row": {"properties": {"sku": {"type": "string"}}}}
    body = {"properties": {"rows": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}}}
    assert "<code>sku</code>" in fields_of(body, named)
    assert "<code>sku</code>" not in fields_of(body, {})
