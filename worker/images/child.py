"""The process that looks at pictures: `python -m worker.images.child`, started by `process.py`.

It reads questions from standard input and writes answers to standard output, each JSON after its length in
four bytes. It holds no secret, needs no network, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from worker.images.inspect import inspect
from worker.images.limits import Limits
from worker.images.picture import Picture, Unfit
from worker.images.room import NoRoom

PR_SET_PDEATHSIG = 1
NICE = 10
FILE_BYTES = 256 * 1024 * 1024


def main() -> int:
    # what a library prints must not end up among the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limits = Limits.from_json(json.loads(sys.argv[1]))
    parent = int(sys.argv[2])
    _die_with(parent)
    _bound(limits)
    from worker.images import darkroom  # its threads and memory come under the limits

    darkroom.set_up()
    _say(answers, {"ready": True})
    while (question := _hear(sys.stdin.buffer)) is not None:
        _cpu_from_now(limits)
        try:
            answer: dict[str, Any] = {"picture": _work(question, limits).to_json()}
        except Unfit as unfit:
            answer = {"unfit": {"code": unfit.code, "detail": unfit.detail}}
        except NoRoom as full:
            answer = {"full": str(full)}
        except (darkroom.OutOfMemory, MemoryError):
            _say(answers, {"lost": "memory"})
            return 1  # what is left of the heap is not worth keeping
        _say(answers, answer)
    return 0


def _work(question: dict[str, Any], limits: Limits) -> Picture:
    from worker.images import darkroom

    source, into = Path(question["source"]), Path(question["into"])
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if not size:
            inspect(b"", limits)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header, appended = inspect(data, limits)
    seen = darkroom.develop(source, into, header, derivatives=question["derivatives"])
    return Picture(
        sha256=sha256,
        format=header.format,
        source_bytes=size,
        animated=header.frames > 1,
        appended=appended,
        **seen,
    )


def _die_with(parent: int) -> None:
    """Linux only; elsewhere the end of standard input has to do."""
    # for the parent, which then tells us: they may go to the whole group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICE)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def _bound(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _cpu_from_now(limits: Limits) -> None:
    """Above it the kernel ends this process (SIGXCPU); whole seconds, as it counts them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + limits.cpu.total_seconds()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _hear(questions: BinaryIO) -> dict[str, Any] | None:
    head = questions.read(4)
    if len(head) < 4:
        return None
    told: dict[str, Any] = json.loads(questions.read(int.from_bytes(head, "big")))
    return told


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    answers.write(len(body).to_bytes(4, "big") + body)
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
