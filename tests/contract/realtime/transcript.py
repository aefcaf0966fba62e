"""Reads a recorded transcript: what the real server was asked, told by SQL, and answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FRAMES = Path(__file__).parent / "frames"


@dataclass(frozen=True, slots=True)
class Step:
    """`kind` is http, c2s, s2c, sql, close, note or stats; `fields` is the recorded line."""

    kind: str
    at: float
    """Seconds into the recording."""
    connection: int
    fields: dict[str, Any]

    @property
    def frame(self) -> str:
        return str(self.fields["frame"])

    @property
    def statement(self) -> str:
        return str(self.fields["statement"])


@dataclass(frozen=True, slots=True)
class Transcript:
    name: str
    recorded_at: datetime
    """When it was written, shortly after its end."""
    steps: tuple[Step, ...]


def read_transcript(path: Path) -> Transcript:
    head, *lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    steps = [
        Step(line["dir"], line.get("t", 0.0), line.get("conn") or 0, line) for line in lines if "dir" in line
    ]
    return Transcript(path.stem, datetime.fromisoformat(head["recorded"]), tuple(steps))


def all_transcripts() -> list[Path]:
    return sorted(FRAMES.glob("*.jsonl"))
