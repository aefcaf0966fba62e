"""What the engine asks of the world. The gateway and the slices implement these; nobody imports back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import BaseModel

from worker.engine.job import AttemptId, Job, NewJob, Outcome, RawPayload, Result

# At a stop, how long a look or a claim in hand is waited for. Not the whole deadline: when Supabase hangs,
# such a call brings nothing, and what it may still have taken comes back when its lease runs out.
CALL_IN_HAND: Final = timedelta(seconds=5)


class Handler(Protocol):
    """One kind of job: a small frozen dataclass whose fields are its dependencies.

    `Payload` forbids extra fields; a payload that does not fit is buried. Running a handler twice with
    the same job must be harmless, and its docstring says why.
    """

    @property
    def kind(self) -> str: ...
    @property
    def Payload(self) -> type[BaseModel]: ...
    async def __call__(self, job: Job[Any], /) -> Outcome: ...


class Runner(Protocol):
    """A part of the daemon that takes work: the dispatcher, the jobs, the webhook lanes.

    The daemon starts `run` as a task and rings `wake`. To stop, it calls `drain` once: take nothing
    new, finish what is in hand within `deadline`, hand the rest back uncharged, release what is held;
    `run` returns when `drain` has. A `run` that raises, or returns undrained, ends the worker with an error.
    A database outage is no reason to raise: back off and go on.
    """

    @property
    def name(self) -> str: ...
    async def run(self) -> None: ...
    def wake(self, lane: str) -> None:
        """Something may be new in `lane` (`outbox`, `deliveries`, `jobs`, `endpoints`). Never blocks."""

    async def drain(self, deadline: timedelta) -> None: ...
    def stats(self) -> Mapping[str, float]:
        """Gauges for /metrics, by short snake_case name, e.g. `{"in_flight": 3, "lanes": 12}`."""


class Side(Protocol):
    """A part of the daemon that takes no work and is simply cancelled at a stop: Realtime, health, upkeep."""

    @property
    def name(self) -> str: ...
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """Claimed jobs, and when the next one of these kinds falls due (None: none is waiting)."""

    jobs: Sequence[Job[RawPayload]]
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """How many results were written, and the attempts that had been taken over (theirs were not)."""

    settled: int
    lost: frozenset[AttemptId]


class JobQueue(Protocol):
    """The queue of jobs. All methods raise `GatewayError`."""

    async def claim(self, kinds: Collection[str], *, limit: int, lease: timedelta) -> Claim: ...
    async def extend(self, attempts: Collection[AttemptId], *, lease: timedelta) -> frozenset[AttemptId]:
        """Extends the leases; answers the attempts still held."""

    async def settle(self, results: Sequence[Result]) -> Settlement: ...
    async def enqueue(self, job: NewJob) -> bool:
        """Queues a job; False when a waiting one with its unique key stands for it."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one look at the outbox moved. `drained` False: there is more. `mark` goes into the next look.

    `endpoints` counts changes of webhook endpoints: lanes are new, gone or have other settings.
    """

    events: int
    deliveries: int
    jobs: int
    endpoints: int
    drained: bool
    mark: str


class Outbox(Protocol):
    """The outbox of committed changes. Both methods raise `GatewayError`."""

    async def dispatch(self, mark: str) -> Dispatched:
        """Moves a slice of the outbox to the log, from position `mark` (`"0"` at the start)."""

    async def stay_awake(self, duration: timedelta) -> None:
        """Asks writers not to ring for `duration`, because the worker looks by itself; zero ends it."""


class Rpc(Protocol):
    """The one way to the database: a function by name, JSON in, JSON out."""

    async def call(self, name: str, /, **params: Any) -> Any:
        """Calls `worker.<name>`; raises `GatewayError`."""


class RawRpc(Rpc, Protocol):
    """The same, for those who decode large answers themselves."""

    async def answer(self, name: str, /, **params: Any) -> bytes:
        """As `call`, with the answer's JSON as it came."""
