"""The user that Postgres runs as: it refuses to be root, so as root another one is found or made."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tests.stack.errors import StackError

SYSTEM_USER = "pms-stack"
FALLBACKS = ("postgres", "nobody")
"""Where no user can be made (no useradd, a read-only /etc), any other than root will do."""


class PopenArguments(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]
    cwd: str


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> PopenArguments:
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def own(self, directory: Path) -> None:
        """Give a whole tree to this user."""
        for parent, folders, files in os.walk(directory):
            for name in (*folders, *files):
                os.chown(os.path.join(parent, name), self.uid, self.gid, follow_symlinks=False)
        os.chown(directory, self.uid, self.gid)


def postgres_user() -> User | None:
    """Whom to run Postgres as: None means as ourselves. Raises `StackError` if root has nobody to turn to."""
    if os.geteuid() != 0:
        return None
    if (user := _look_up(SYSTEM_USER)) or (user := _make()):
        return user
    for name in FALLBACKS:
        if user := _look_up(name):
            return user
    raise StackError(
        f"Postgres refuses to run as root, and neither {SYSTEM_USER} nor {FALLBACKS} exist or can be made"
    )


def _look_up(name: str) -> User | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make() -> User | None:
    if shutil.which("useradd"):
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    elif shutil.which("adduser"):  # busybox
        command = ["adduser", "-S", "-D", "-H", "-s", "/sbin/nologin"]
    else:
        return None
    # A second platform may be making it at this very moment; what counts is whether it is there afterwards.
    subprocess.run([*command, SYSTEM_USER], capture_output=True, check=False, timeout=30)
    return _look_up(SYSTEM_USER)
