"""Answers of the database, checked against the shape that docs/worker-rpc.md promises."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from worker.errors import BadAnswer

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], answer: Any) -> M:
    """`answer` as `model`; raises `BadAnswer` when it is not of that shape."""
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        raise BadAnswer(f"the database answered in another shape: {where}: {first['msg']}") from None
