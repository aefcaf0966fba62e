"""Settings: every problem at once, by the variable's name, and never a value."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from worker.config import Settings
from worker.errors import SettingsError

URL, SECRET = "http://127.0.0.1:54321", "sb_secret_abcdefghijklmnop"
ANON_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2ln"
SERVICE_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any setting of ours."""
    import os

    for name in list(os.environ):
        if re.match(r"SUPABASE_|WORKER_|PMS_|CLOUDINARY_|IMAGE_HOST|REDIS_", name):
            monkeypatch.delenv(name)


@pytest.fixture
def minimal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET)
    return monkeypatch


def load() -> Settings:
    return Settings.load(env_file=None)


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load()
    return list(caught.value.problems)


def test_two_variables_are_enough(minimal: pytest.MonkeyPatch) -> None:
    settings = load()
    assert (settings.api_url, settings.rest_url) == (URL, f"{URL}/rest/v1")
    assert settings.worker_http_host == "127.0.0.1"
    assert settings.worker_name
    assert SECRET not in repr(settings)


def test_all_that_is_missing_is_named_at_once() -> None:
    first, second = problems()
    assert first.startswith("SUPABASE_URL is missing")
    assert second.startswith("SUPABASE_SECRET_KEY (or SUPABASE_SERVICE_ROLE_KEY) is missing")


def test_the_older_names_of_the_keys_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SERVICE_JWT)
    monkeypatch.setenv("SUPABASE_ANON_KEY", ANON_JWT)
    settings = load()
    assert settings.supabase_secret_key.get_secret_value() == SERVICE_JWT
    assert settings.supabase_publishable_key is not None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SUPABASE_URL", "not a url", "SUPABASE_URL is wrong"),
        ("SUPABASE_URL", f"{URL}/rest/v1", "without a path"),
        ("SUPABASE_URL", "http://hunter2:hunter2@127.0.0.1:54321", "without a user or a password"),
        ("SUPABASE_SECRET_KEY", "sb_secret_\N{HORIZONTAL ELLIPSIS}", "copy it anew"),
        ("SUPABASE_SECRET_KEY", f"{SECRET}\n", "copy it anew"),
        ("SUPABASE_PUBLISHABLE_KEY", '"sb_publishable_abc"', "copy it anew"),
        ("SUPABASE_SECRET_KEY", "sb_publishable_abc", "it holds a publishable key"),
        ("SUPABASE_SECRET_KEY", ANON_JWT, "it holds anon"),
        ("SUPABASE_SECRET_KEY", "hunter2", "it holds no API key"),
        ("IMAGE_HOST", "ftp", "IMAGE_HOST is wrong"),
        ("IMAGE_HOST", "cloudinary", "CLOUDINARY_URL, which is missing"),
        ("CLOUDINARY_URL", "https://cloudinary.com", "CLOUDINARY_URL is wrong"),
        ("REDIS_URL", "http://127.0.0.1:6379", "REDIS_URL is wrong"),
        ("REDIS_URL", "redis://:hunter2@", "REDIS_URL is wrong"),
        ("CLOUDINARY_URL", "cloudinary://hunter2@cloud", "CLOUDINARY_URL is wrong"),
        ("CLOUDINARY_URL", "cloudinary://key:hunter2", "CLOUDINARY_URL is wrong"),
        ("CLOUDINARY_URL", "cloudinary://<key>:hunter2@<cloud name>", "CLOUDINARY_URL is wrong"),
        ("WORKER_IMAGE_PREFIX", "../", "WORKER_IMAGE_PREFIX is wrong"),
        ("WORKER_IMAGE_PREFIX", "shop", "WORKER_IMAGE_PREFIX is wrong"),
        ("WORKER_IMAGE_BASE_URL", "images", "WORKER_IMAGE_BASE_URL is wrong"),
        ("WORKER_IMAGE_NOTIFICATION_URL", "images", "WORKER_IMAGE_NOTIFICATION_URL is wrong"),
        ("WORKER_HTTP_PORT", "70000", "WORKER_HTTP_PORT is wrong"),
        ("WORKER_CONCURRENCY", "0", "WORKER_CONCURRENCY is wrong"),
        ("WORKER_SEND_CONCURRENCY", "many", "WORKER_SEND_CONCURRENCY is wrong"),
        ("WORKER_POLL_SECONDS", "-1", "WORKER_POLL_SECONDS is wrong"),
        ("WORKER_POLL_SECONDS", "0.000001", "WORKER_POLL_SECONDS is wrong"),
        ("WORKER_LEASE_SECONDS", "1", "WORKER_LEASE_SECONDS is wrong"),
        ("WORKER_REALTIME", "maybe", "WORKER_REALTIME is wrong"),
        ("WORKER_ALLOW_PRIVATE_HOSTS", "127.0.0.1,example", "WORKER_ALLOW_PRIVATE_HOSTS is wrong"),
        ("WORKER_EGRESS_PROXY", "https://hunter2:hunter2@proxy:3128", "WORKER_EGRESS_PROXY is wrong"),
        ("WORKER_EGRESS_PROXY", "http://hunter2@proxy:3128", "WORKER_EGRESS_PROXY is wrong"),
        ("WORKER_LOG_LEVEL", "loud", "WORKER_LOG_LEVEL is wrong"),
    ],
)
def test_a_wrong_value_is_named(minimal: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    minimal.setenv(name, value)
    (problem,) = problems()
    assert said in problem
    assert "hunter2" not in problem


def test_an_empty_variable_counts_as_unset(minimal: pytest.MonkeyPatch) -> None:
    minimal.setenv("WORKER_NAME", "")
    minimal.setenv("CLOUDINARY_URL", "")
    assert load().worker_name


@pytest.mark.parametrize(
    ("host", "base", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:9464/images"),
        ("::1", "", "http://[::1]:9464/images"),
        ("0.0.0.0", "https://cdn.example.com/pictures/", "https://cdn.example.com/pictures"),
    ],
)
def test_where_images_are_reached(minimal: pytest.MonkeyPatch, host: str, base: str, url: str) -> None:
    minimal.setenv("WORKER_HTTP_HOST", host)
    minimal.setenv("WORKER_IMAGE_BASE_URL", base)
    assert load().image_base_url == url


def test_private_hosts_are_networks(minimal: pytest.MonkeyPatch) -> None:
    minimal.setenv("WORKER_ALLOW_PRIVATE_HOSTS", "127.0.0.1/8, ::1")
    assert load().worker_allow_private_hosts == (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def test_the_environment_wins_over_the_file(minimal: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("WORKER_NAME=from the file\nSUPABASE_URL=http://file.example\nUNKNOWN=1\n")
    settings = Settings.load(env_file=file)
    assert (settings.worker_name, settings.api_url) == ("from the file", URL)


def test_a_file_that_is_no_text_is_named(minimal: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"WORKER_NAME=caf\xe9\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it is not UTF-8 text"):
        Settings.load(env_file=file)


def test_every_setting_is_documented_and_nothing_else() -> None:
    documented = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("command", ["run", "drain", "doctor", "status"])
def test_the_command_line_names_them_on_stderr_and_exits_2(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "WORKER_HTTP_PORT": "x", "SUPABASE_SECRET_KEY": "hunter2"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY", "WORKER_HTTP_PORT"):
        assert f"pms-worker: {name}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
