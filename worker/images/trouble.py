"""What becomes of a picture that met trouble. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, assert_never

from worker.errors import HostBusy, HostFailing, HostRefused, HostUnconfigured, HostUnreachable
from worker.gateway.images import Ending
from worker.images.picture import Unfit, WorkshopLost
from worker.images.room import NoRoom
from worker.images.source import SourceAway, SourceRefused

Fault = (
    SourceRefused
    | SourceAway
    | Unfit
    | WorkshopLost
    | NoRoom
    | HostRefused
    | HostBusy
    | HostUnreachable
    | HostFailing
    | HostUnconfigured
)
CRASHES: Final = 3
"""A file that takes the decoder down so often, in a row, is not opened again."""
HOST_AWAY: Final = "image.host_unavailable"
NO_ROOM: Final = "image.no_room"


@dataclass(frozen=True, slots=True)
class Trouble:
    """`ending`: how the picture ends, None: it is tried again. `charged`: that counts as one of its attempts;
    else it is the host's trouble with everybody, or ours. `wait`: at least so long, as somebody asked."""

    code: str
    detail: str
    ending: Ending | None = None
    charged: bool = True
    wait: timedelta | None = None
    crashes: int = 0

    @property
    def told(self) -> dict[str, Any]:
        """As the picture's row has it."""
        told: dict[str, Any] = {"code": self.code, "detail": self.detail}
        return {**told, "crashes": self.crashes} if self.crashes else told


def trouble_of(error: Fault, *, attempt: int, max_attempts: int, crashes: int) -> Trouble:
    """`attempt` from 1; after the last, what was to be tried again has failed. `crashes`: until now."""
    found = _read(error, crashes)
    if found.ending is None and found.charged and attempt >= max_attempts:
        return Trouble(found.code, f"{found.detail} It was tried {attempt} times.", "failed")
    return found


def _read(error: Fault, crashes: int) -> Trouble:
    match error:
        case SourceRefused():
            return Trouble(error.code, error.detail, "failed")
        case SourceAway():
            return Trouble(error.code, error.detail, wait=error.retry_after)
        case Unfit():
            return Trouble(error.code, error.detail, "quarantined")
        case WorkshopLost():
            ending: Ending | None = "quarantined" if crashes + 1 >= CRASHES else None
            detail = f"The file cannot be worked on: {error}."
            return Trouble("image.undecodable", detail, ending, crashes=crashes + 1)
        case NoRoom():
            return Trouble(NO_ROOM, "The worker has no room to work on it.", charged=False)
        case HostRefused():
            return Trouble(error.code, error.detail, "failed")
        case HostFailing():
            return Trouble(HOST_AWAY, "The image host failed to take it.")
        case HostBusy(status=409 | 423):
            return Trouble(HOST_AWAY, "The image host is at work on it.", wait=error.retry_after)
        case HostBusy():
            detail = "The image host is busy."
            return Trouble(HOST_AWAY, detail, charged=False, wait=error.retry_after)
        case HostUnreachable():
            return Trouble(HOST_AWAY, "The image host does not answer.", charged=False)
        case HostUnconfigured():
            return Trouble(HOST_AWAY, "The image host is not set up as it must be.", charged=False)
        case _:
            assert_never(error)
