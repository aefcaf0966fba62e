"""Whether a read was as new as it had to be, and of the right tenant, by what writers were told before it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Thing = tuple[str, str]
"""`product` or `level`, and the product's id."""
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Told:
    """A write that was answered: its X-Seq, the version that it made, and when that was known."""

    seq: int
    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What was known of the tenant when a read was sent."""

    at: float
    least: int | None
    """Its X-Min-Seq."""
    versions: Mapping[Thing, int]


@dataclass
class Board:
    """What the writers of one tenant were told."""

    epoch: str = ""
    seq: int = 0
    versions: dict[Thing, int] = field(default_factory=dict)
    told: defaultdict[Thing, list[Told]] = field(default_factory=lambda: defaultdict(list))

    def write(self, thing: Thing, seq: tuple[str, int], version: int) -> None:
        self.epoch, self.seq = seq[0], max(self.seq, seq[1])
        self.versions[thing] = max(version, self.versions.get(thing, 0))
        self.told[thing].append(Told(seq[1], version, time.monotonic()))

    def ask(self, *, least: bool) -> Asked:
        return Asked(time.monotonic(), self.seq if least else None, dict(self.versions))

    def min_seq(self, asked: Asked) -> dict[str, str]:
        return {} if asked.least is None else {"X-Min-Seq": f"{self.epoch}:{asked.least}"}


@dataclass
class Judge:
    read: int = 0
    asking: int = 0
    """Of them, with X-Min-Seq."""
    oldest: float = 0.0
    """Seconds: how old what was read without X-Min-Seq was at most."""
    wrong: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)

    def weigh(
        self, board: Board, asked: Asked, rows: Iterable[tuple[Thing, int]], seq: tuple[str, int] | None
    ) -> None:
        """`rows`: everything that the read showed, with its version."""
        self.read += 1
        self.asking += asked.least is not None
        if seq is None or seq[0] != board.epoch:
            self.fault("without X-Seq", f"a read said {seq}")
            return
        if asked.least is not None and seq[1] < asked.least:
            self.fault("too old", f"X-Seq {seq[1]} for X-Min-Seq {asked.least}")
        for thing, version in rows:
            if thing not in board.versions:
                self.fault("of another tenant", f"{thing} is not the reader's")
                continue
            if asked.least is not None and version < asked.versions[thing]:
                self.fault("too old", f"{thing}: {version} for {asked.versions[thing]} at {asked.least}")
            self._weigh_claim(board, thing, version, seq[1])
            if asked.least is None:
                self.oldest = max(self.oldest, age(board.told[thing], version, asked.at))

    def fault(self, kind: str, what: str) -> None:
        self.wrong[kind] += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{kind}: {what}")

    def _weigh_claim(self, board: Board, thing: Thing, version: int, seq: int) -> None:
        """X-Seq of a read says what it is at least as new as, whatever was asked."""
        right = max((each.version for each in board.told[thing][-50:] if each.seq <= seq), default=0)
        if version < right:
            self.fault("older than it says", f"{thing}: {version} for {right} at X-Seq {seq}")


def age(told: list[Told], version: int, at: float) -> float:
    """For how long a newer version had been known when the read was sent."""
    age = 0.0
    for each in reversed(told):
        if each.version <= version:
            break
        age = max(age, at - each.at)
    return age
