"""The JSON Schema subset, against the library `jsonschema` as an oracle, and the schemas that are refused."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from psycopg.types.json import Jsonb

from tests.databases import Connection
from tests.sql.ask import column, value
from tests.sql.company import Company

Json = Any

NAMES = st.sampled_from(["a", "b", "size"])
TEXTS = st.sampled_from(["", "a", "ab", "abc", "b1", "ä€", "2024-02-29", "2023-02-29", "0001-01-01", "x@y"])
# Halves have an exact binary form, so the oracle's floats and Postgres' decimals are the same numbers.
NUMBERS = st.integers(-6, 6) | st.integers(-8, 8).map(lambda n: n / 2)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
COUNTS = st.integers(0, 3)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
KEYWORDS: dict[str, st.SearchStrategy[Json]] = {
    "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "const": VALUES,
    "minimum": NUMBERS,
    "maximum": NUMBERS,
    "exclusiveMinimum": NUMBERS,
    "exclusiveMaximum": NUMBERS,
    "multipleOf": st.sampled_from([1, 2, 0.5, 1.5]),
    "minLength": COUNTS,
    "maxLength": COUNTS,
    "minItems": COUNTS,
    "maxItems": COUNTS,
    "minProperties": COUNTS,
    "maxProperties": COUNTS,
    "pattern": st.sampled_from(["^a", "b$", r"\d", "^[a-b]{2,3}$", "a|1", r"^\w+$", "(?:ab)+c?"]),
    "format": st.just("date"),
    "uniqueItems": st.booleans(),
    "required": st.lists(NAMES, max_size=2, unique=True),
}


def with_parts(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {},
        optional={
            **KEYWORDS,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "allOf": st.lists(inner, min_size=1, max_size=3),
            "oneOf": st.lists(inner, min_size=1, max_size=3),
            "not": inner,
        },
    ).map(lambda schema: dict(list(schema.items())[:5]))


ONE_KEYWORD = st.one_of([st.fixed_dictionaries({word: rule}) for word, rule in KEYWORDS.items()])
SCHEMAS: st.SearchStrategy[Json] = st.recursive(st.booleans() | ONE_KEYWORD, with_parts, max_leaves=6).filter(
    lambda schema: isinstance(schema, dict)
)
JUDGE = (
    "select private.schema_failures(s -> 'schema', s -> 'value', 'it') = '[]' from jsonb_array_elements(%s) s"
)


def by_the_oracle(schema: Json, instance: Json) -> bool:
    checker = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator(schema, format_checker=checker).is_valid(instance)


@given(pairs=st.lists(st.tuples(SCHEMAS, VALUES), min_size=10, max_size=40))
@settings(
    max_examples=25,
    deadline=None,
    # Shrinking lists of pairs takes minutes; the message holds the one pair.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
async def test_it_judges_as_the_oracle(db: Connection, pairs: list[tuple[Json, Json]]) -> None:
    sent = Jsonb([{"schema": schema, "value": instance} for schema, instance in pairs])
    problems = "select private.schema_problems(s.schema) from jsonb_to_recordset(%s) as s (schema jsonb)"
    assert await column(db, problems, sent) == [[]] * len(pairs), "the strategy stays within the subset"
    for (schema, instance), ours in zip(pairs, await column(db, JUDGE, sent), strict=True):
        assert ours == by_the_oracle(schema, instance), json.dumps({"schema": schema, "value": instance})


async def test_the_oracle_disagrees_with_a_wrong_judge() -> None:
    """The comparison can fail: a judge that takes true for 1, as naive Python does, is told apart."""
    assert not by_the_oracle({"const": 1}, True)
    assert not by_the_oracle({"type": "integer"}, 1.5)
    assert by_the_oracle({"type": "integer"}, 1.0)
    assert not by_the_oracle({"format": "date"}, "2023-02-29")


FORMATS = [
    ("a@example.com", "email", True),
    ("first.last+tag@sub.example.co", "email", True),
    ("a@example", "email", False),
    ("a b@example.com", "email", False),
    ("@example.com", "email", False),
    ("a@-example.com", "email", False),
    ("https://example.com/a?b=c#d", "uri", True),
    ("urn:isbn:0451450523", "uri", True),
    ("example.com/a", "uri", False),
    ("https://example.com/a b", "uri", False),
    ("https://example.com/%zz", "uri", False),
    ("2024-02-29", "date", True),
    ("2024-2-29", "date", False),
    ("yesterday", "date", False),
]


async def test_formats(db: Connection) -> None:
    for text, form, holds in FORMATS:
        assert await value(db, "select private.matches_format(%s, %s)", text, form) is holds, text


REFUSED: list[tuple[Json, str]] = [
    ([], "the schema must be a schema"),
    (True, "the schema must be a schema"),
    ({"patternProperties": {}}, "/patternProperties is not a keyword that is carried out"),
    ({"$ref": "#"}, "/$ref is not a keyword that is carried out"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema must be draft 2020-12"),
    ({"type": "text"}, "/type must name types of JSON"),
    ({"type": []}, "/type must name types of JSON"),
    ({"enum": "a"}, "/enum must be a list of values"),
    ({"required": "a"}, "/required must be a list of names"),
    ({"required": [1]}, "/required must be a list of names"),
    ({"minimum": "1"}, "/minimum must be a number"),
    ({"multipleOf": 0}, "/multipleOf must be a number above 0"),
    ({"minLength": -1}, "/minLength must be a whole number"),
    ({"maxItems": 1.5}, "/maxItems must be a whole number"),
    ({"uniqueItems": 1}, "/uniqueItems must be true or false"),
    ({"format": "time"}, "/format must be date, email or uri"),
    ({"format": []}, "/format must be date, email or uri"),
    ({"properties": []}, "/properties must be an object of schemas"),
    ({"properties": {"a": 1}}, "/properties/a must be a schema"),
    ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum must be a number"),
    ({"items": [{}]}, "/items must be a schema"),
    ({"not": {"not": {"not": 1}}}, "/not/not/not must be a schema"),
    ({"anyOf": []}, "/anyOf must be a list of schemas"),
    (
        {"oneOf": [{}, {"allOf": [{"const": 1, "x": 1}]}]},
        "/oneOf/1/allOf/0/x is not a keyword that is carried out",
    ),
    (
        {"pattern": "("},
        "/pattern is no regular expression: invalid regular expression: parentheses () not balanced",
    ),
    ({"pattern": "a" * 201}, "/pattern is longer than 200 characters"),
    ({"title": 1}, "/title must be text"),
    ({"enum": ["x" * 17_000]}, "the schema is larger than 16 KiB"),
]


async def test_a_schema_outside_the_subset_is_refused(db: Connection) -> None:
    for schema, problem in REFUSED:
        assert await value(db, "select private.schema_problems(%s)", Jsonb(schema)) == [problem]


async def test_depth_is_bounded(db: Connection) -> None:
    nested: Json = {"type": "string"}
    for _ in range(10):
        nested = {"items": nested}
    assert await value(db, "select private.schema_problems(%s)", Jsonb(nested)) == []
    (problem,) = await value(db, "select private.schema_problems(%s)", Jsonb({"items": nested}))
    assert problem.endswith("is nested more than 10 deep")


UNSAFE = [
    r"(a)\1",
    r"(a+)+\1",
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    "(?i)a",
    "***:a",
    "*a",
    r"\ma",
    r"\Z",
    r"a\y",
    "[[:alpha:]]",
    "(a{1,100}){1,100}",
    "a{1001}",
    r"\p{L}",
    "[",
    "a\\",
]


async def test_a_pattern_that_is_unsafe_or_unclear_is_refused(db: Connection) -> None:
    for pattern in UNSAFE:
        assert await value(db, "select private.pattern_problem(%s)", pattern), pattern


async def test_ordinary_patterns_are_accepted(db: Connection) -> None:
    for pattern in ("^[A-Z]{2}[0-9]{6}$", r"^\d+(?:\.\d{1,2})?$", "^(red|blue)$", r"\\1", "[^a-z]", ""):
        assert await value(db, "select private.pattern_problem(%s)", pattern) is None


async def test_a_pattern_that_ruins_others_takes_no_time_here(db: Connection) -> None:
    await db.execute("set statement_timeout = '3s'")
    for pattern in ("^(a+)+$", "^(a|aa)+$", "^(a*)*b$", "(x+x+)+y", "^(?:a{1,30}){1,30}$"):
        assert await value(db, "select private.pattern_problem(%s)", pattern) is None
        schema = Jsonb({"pattern": pattern})
        await value(
            db, "select private.schema_failures(%s, to_jsonb(repeat('a', 30000) || '!'), 'it')", schema
        )


async def test_the_attributes_of_a_category_follow_its_schema(db: Connection, company: Company) -> None:
    schema = {
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"enum": ["S", "M"]}, "care": {"items": {"type": "string"}}},
        "additionalProperties": False,
    }
    add = (
        "insert into public.categories (tenant_id, name, slug, attribute_schema)"
        " values (%s, %s, %s, %s) returning id"
    )
    category = await value(db, add, company.tenant_id, "Shirts", "shirts", Jsonb(schema))
    insert = (
        "insert into public.products (tenant_id, sku, name, category_id, attributes)"
        " values (%s, %s, 'Shirt', %s, %s)"
    )
    await db.execute(insert, (company.tenant_id, "GOOD", category, Jsonb({"size": "M", "care": ["cold"]})))
    with pytest.raises(psycopg.Error) as refused:
        await db.execute(
            insert, (company.tenant_id, "BAD", category, Jsonb({"care": ["cold", 1], "colour": "red"}))
        )
    failures = json.loads(refused.value.diag.message_detail or "")
    assert sorted((failure["field"], failure["detail"]) for failure in failures) == [
        ("attributes.care.1", "must be of type string"),
        ("attributes.colour", "is not allowed here"),
        ("attributes.size", "is required"),
    ]
    assert {failure["code"] for failure in failures} == {"product.attributes_schema"}
    with pytest.raises(psycopg.Error, match=r"schema\.invalid"):
        await db.execute("update public.categories set attribute_schema = '{\"if\": {}}'")
