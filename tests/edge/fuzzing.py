"""schemathesis against the served OpenAPI, each request signed.

Signatures are made last, over exactly what is sent. Half of what is asked follows the schemas, half breaks
them; what is answered has to be what the document tells.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.edge.signing import ApiKey, signature_headers

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Signed(requests.auth.AuthBase):
    """Signs what is prepared, so nothing can change it after."""

    def __init__(self, key: ApiKey, base_url: str) -> None:
        self._key, self._prefix = key, urlsplit(base_url).path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        content = body if isinstance(body, bytes) else str(body).encode()
        target = str(request.path_url).removeprefix(self._prefix)
        made = signature_headers(self._key, str(request.method), target, content, nonce=secrets.token_hex(16))
        request.headers.update(made)
        return request


@dataclass
class Tally:
    asked: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asking:
    base_url: str
    key: ApiKey
    ids: dict[str, str]
    examples: int


def document(base_url: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{base_url}/pms/v1/openapi.json", timeout=20).raise_for_status().json()
    return told


def fuzz(base_url: str, key: ApiKey, ids: dict[str, str], *, examples: int, only: str | None = None) -> Tally:
    """`examples` requests of each operation and mode; half of the paths name `ids`, which are there.

    `only` is the label of an operation (`GET /pms/v1/products`): the others are left out.
    """
    told = document(base_url)
    told["servers"] = [{"url": base_url}]
    schema = schemathesis.openapi.from_dict(told)
    tally = Tally()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for operation in operations_of(schema):
            if only is None or operation.label == only:
                play(operation, mode, Asking(base_url, key, ids, examples), tally)
    return tally


def operations_of(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        yield result.ok()


def play(operation: Any, mode: Any, asking: Asking, tally: Tally) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=asking.examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        tally.asked += 1
        name = "order_id" if "/orders/" in operation.path else "product_id"
        if case.path_parameters and mode is GenerationMode.POSITIVE and tally.asked % 2:
            case.path_parameters["id"] = asking.ids[name]
        response = case.call(base_url=asking.base_url, auth=Signed(asking.key, asking.base_url), timeout=30)
        tally.statuses[response.status_code] = tally.statuses.get(response.status_code, 0) + 1
        try:
            case.validate_response(response, checks=CHECKS)
        except AssertionError as error:
            tally.faults.append(f"{operation.label} ({mode.name}): {error}"[:1500])
        except BaseExceptionGroup as error:
            tally.faults.extend(
                f"{operation.label} ({mode.name}): {each}"[:1500] for each in error.exceptions
            )

    try:
        ask()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__:
            raise  # an operation that takes nothing cannot be asked wrongly
