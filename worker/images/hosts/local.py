"""The embedded host: files below a directory, served by the worker itself (`serving.py`).

`<directory>/<tenant>/<sha256>/<rendition>.<format>`. A file appears whole or not at all (written beside,
synced, linked) and is never changed. Deleting renames first, so that nothing is ever half there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, TypeVar

from worker.errors import HostFailing, HostRefused, HostUnconfigured
from worker.images.hosts import BAD_RENDITION, PUBLIC_ID, HostPage, check_public_id, master_of
from worker.images.picture import Rendition

FILE_NAME: Final = re.compile(r"(?:master|thumbnail|card|zoom)\.(?:webp|avif|jpeg|png)", re.ASCII)
_WORK: Final = ".work"
# what a killed process left in .work; no store takes so long
_LEFT_BEHIND: Final = timedelta(hours=1)
_AT_A_TIME: Final = 4
_TRIES: Final = 20
_SET_UP: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG}
)
_T = TypeVar("_T")


class LocalHost:
    """Pictures on this machine's disk. `base_url`: under which `serving.py`'s route is reached, no slash
    at its end. Disk work runs in threads, four at a time.
    """

    name = "local"
    derives = False

    def __init__(self, directory: Path, *, base_url: str) -> None:
        self._directory, self._base_url = directory, base_url.rstrip("/")
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def store(self, public_id: str, renditions: Sequence[Rendition]) -> Mapping[str, str]:
        check_public_id(public_id)
        master_of(renditions)
        for rendition in renditions:
            if FILE_NAME.fullmatch(_file_name(rendition)) is None:
                raise HostRefused(BAD_RENDITION, f"{_file_name(rendition)!r} cannot be served")
        await self._in_thread(lambda: self._store(public_id, renditions))
        urls: dict[str, str] = {}
        for rendition in renditions:
            urls.setdefault(rendition.name, f"{self._base_url}/{public_id}/{_file_name(rendition)}")
        return urls

    async def delete(self, public_id: str) -> None:
        check_public_id(public_id)
        await self._in_thread(lambda: self._delete(public_id))

    async def listing(self, after: str | None, limit: int) -> HostPage:
        return await self._in_thread(lambda: self._listing(after, max(1, limit)))

    async def probe(self) -> None:
        """Writes a file as a picture is written, and leaves nothing. Raises `HostError`s."""
        await self._in_thread(self._probe)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        async with self._slots:
            try:
                return await asyncio.to_thread(work)
            except OSError as error:
                raise _told(error, self._directory) from error

    def _store(self, public_id: str, renditions: Sequence[Rendition]) -> None:
        home = self._directory / public_id
        work = self._work_space()
        wanted = {home / _file_name(rendition): rendition.path for rendition in renditions}
        try:
            # again, where somebody deleted the object while it was being stored
            for _ in range(_TRIES):
                if not (missing := [target for target in wanted if not target.exists()]):
                    break
                for target in missing:
                    _publish(_copy(wanted[target], work / target.name), target)
            else:
                raise HostFailing(f"{public_id} is deleted as fast as it is stored")
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for directory in (home, home.parent, self._directory):
            _sync(directory)

    def _delete(self, public_id: str) -> None:
        home = self._directory / public_id
        if not home.exists():
            return
        work = self._work_space()
        try:
            home.rename(work / "deleted")
        except FileNotFoundError:
            return  # a twin was quicker
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _sync(home.parent)
        _remove_empty(home.parent)

    def _listing(self, after: str | None, limit: int) -> HostPage:
        if after is None:
            self._tidy()
        found: list[str] = []
        for public_id in self._public_ids(after or ""):
            if len(found) == limit:
                return HostPage(found, found[-1])
            found.append(public_id)
        return HostPage(found, None)

    def _public_ids(self, after: str) -> Iterator[str]:
        tenant_of_after = after.partition("/")[0]
        for tenant in _names(self._directory):
            if tenant < tenant_of_after:
                continue
            for sha256 in _names(self._directory / tenant):
                public_id = f"{tenant}/{sha256}"
                if public_id > after and PUBLIC_ID.fullmatch(public_id):
                    yield public_id

    def _work_space(self) -> Path:
        within = self._directory / _WORK
        within.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=within))

    def _tidy(self) -> None:
        """Removes what killed processes left."""
        oldest = time.time() - _LEFT_BEHIND.total_seconds()
        for name in _names(self._directory / _WORK):
            left = self._directory / _WORK / name
            if left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)

    def _probe(self) -> None:
        # where it is still to be made, its parent tells; made here it could belong to the wrong user
        there = next(each for each in (self._directory, *self._directory.absolute().parents) if each.exists())
        work = Path(mkdtemp(dir=there))
        try:
            (work / "probe").write_bytes(b"probe")
            _publish(work / "probe", work / "linked" / "probe")
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _file_name(rendition: Rendition) -> str:
    return f"{rendition.name}.{rendition.format}"


def _copy(source: Path, target: Path) -> Path:
    if target.exists():
        return target
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(0o644)
    return target


def _publish(written: Path, target: Path) -> None:
    """Gives a whole file its name; a twin that was quicker stays."""
    for attempt in range(_TRIES):
        try:
            _make(target.parent)
            target.hardlink_to(written)
        except FileExistsError:
            return
        except FileNotFoundError:
            # somebody deleted the directory in between
            if attempt == _TRIES - 1:
                raise
        else:
            return


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        # mkdir found it, and then looked whether it is a directory: so quickly was it deleted
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory)) from None


def _sync(directory: Path) -> None:
    """Makes names as durable as the bytes."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # deleted meanwhile
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _remove_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _told(error: OSError, directory: Path) -> HostUnconfigured | HostFailing:
    what = f"{directory}: {error.strerror or error}"
    if error.errno in _SET_UP:
        return HostUnconfigured(f"WORKER_IMAGE_DIR {what}")
    return HostFailing(what)
