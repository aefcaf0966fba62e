"""Handlers for tests: each does one thing that a handler may do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from worker.engine.job import Done, Job, Outcome


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = ""


@dataclass(frozen=True)
class Recorder:
    """Does what it is told in `answers`, in turn, and `Done` after that. Twice is two records, no harm."""

    kind: str = "test.note"
    answers: list[Outcome | Exception] = field(default_factory=list)
    seen: list[Job[Any]] = field(default_factory=list)
    Payload: ClassVar[type[Note]] = Note

    async def __call__(self, job: Job[Any]) -> Outcome:
        self.seen.append(job)
        answer = self.answers.pop(0) if self.answers else Done()
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass(frozen=True)
class Gate:
    """Waits at a gate that the test opens; counts who is inside."""

    kind: str = "test.gate"
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    inside: list[Job[Any]] = field(default_factory=list)
    most: list[int] = field(default_factory=list)
    cancelled: list[Job[Any]] = field(default_factory=list)
    Payload: ClassVar[type[Note]] = Note

    async def __call__(self, job: Job[Any]) -> Outcome:
        self.inside.append(job)
        self.most.append(len(self.inside))
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job)
            raise
        finally:
            self.inside.remove(job)
        return Done()
