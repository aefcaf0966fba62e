"""What is made of Cloudinary's notifications: a file that somebody else deleted is made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, assert_never

from worker.images.hosts import PUBLIC_ID
from worker.images.hosts.notifications import Deleted, Derived, Moderated, Notification
from worker.log import get_logger

LOST: Final = "images.files_lost"
NOT_DERIVED: Final = "images.not_derived"
MODERATED: Final = "images.moderated"


class LostFiles(Protocol):
    """See `worker.gateway.images.RpcImages`. Raises `GatewayError`."""

    async def lost(self, host: str, public_ids: Sequence[str], *, at: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class HostEar:
    """`prefix`: what stands before our names there. To hear the same twice, or late, changes nothing: what
    was stored since is not lost."""

    files: LostFiles
    host: str
    prefix: str

    async def hear(self, told: Notification, at: datetime) -> None:
        """Raises `GatewayError`: it will be told again."""
        log = get_logger("worker.images")
        match told:
            case Deleted():
                ours = [each.removeprefix(self.prefix) for each in told.public_ids if self._is_ours(each)]
                if ours and (pictures := await self.files.lost(self.host, ours, at=at)):
                    log.warning(LOST, files=len(ours), pictures=pictures)
            case Derived() if told.failures:
                log.warning(NOT_DERIVED, public_id=told.public_id, failures=list(told.failures))
            case Derived():
                pass
            case Moderated():
                log.info(MODERATED, public_id=told.public_id, status=told.status)
            case _:
                assert_never(told)

    def _is_ours(self, public_id: str) -> bool:
        name = public_id.removeprefix(self.prefix)
        return public_id.startswith(self.prefix) and PUBLIC_ID.fullmatch(name) is not None
