"""How `local` serves: for a year, by name, to any page, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.engine.clock import ManualClock
from tests.images.hosts.pictures import png, public_id, renditions
from tests.images.hosts.worlds import local_host
from tests.people import authorities
from worker.engine.health import HealthServer, Readiness
from worker.engine.metrics import Metrics
from worker.images.hosts.local import LocalHost
from worker.images.hosts.serving import image_routes

NAME = public_id("a boot")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    async with local_host(tmp_path / "held") as opened:
        yield opened


@pytest.fixture
async def url(host: LocalHost, tmp_path: Path) -> str:
    return (await host.store(NAME, renditions(tmp_path, "a boot")))["master"]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=authorities()) as client:
        yield client


async def test_it_may_be_kept_for_a_year(http: httpx.AsyncClient, url: str) -> None:
    answer = await http.get(url)
    assert answer.status_code == 200
    assert answer.content == png("a boot master")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["etag"].startswith('"'), "a strong one"


async def test_who_has_it_is_told_so(http: httpx.AsyncClient, url: str) -> None:
    etag = (await http.get(url)).headers["etag"]
    answer = await http.get(url, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert "immutable" in answer.headers["cache-control"]
    assert (await http.get(url, headers={"If-None-Match": '"another"'})).status_code == 200


async def test_its_head_alone(http: httpx.AsyncClient, url: str) -> None:
    answer = await http.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(png("a boot master"))


async def test_a_part_of_it(http: httpx.AsyncClient, url: str) -> None:
    answer = await http.get(url, headers={"Range": "bytes=1-3"})
    assert (answer.status_code, answer.content) == (206, b"PNG")
    answer = await http.get(url, headers={"Range": "bytes=999999-"})
    assert (answer.status_code, answer.headers["cache-control"]) == (416, "no-store")


@pytest.mark.parametrize(
    ("format_", "kind"), [("webp", "webp"), ("avif", "avif"), ("jpeg", "jpeg"), ("png", "png")]
)
async def test_each_format_has_its_type(
    host: LocalHost, http: httpx.AsyncClient, url: str, tmp_path: Path, format_: str, kind: str
) -> None:
    (tmp_path / "held" / NAME / f"card.{format_}").write_bytes(b"whatever")
    answer = await http.get(url.replace("master.png", f"card.{format_}"))
    assert answer.headers["content-type"] == f"image/{kind}"


async def test_who_takes_avif_gets_it_where_there_is_one(
    http: httpx.AsyncClient, url: str, tmp_path: Path
) -> None:
    held, other = tmp_path / "held" / NAME, {"Accept": "image/webp,*/*"}
    for name in ("card.webp", "card.avif", "zoom.webp"):
        (held / name).write_bytes(name.encode())
    takes = {"Accept": "image/avif,image/webp,*/*"}
    for asked, headers, got in (
        ("card.webp", takes, "card.avif"),
        ("card.webp", other, "card.webp"),
        ("zoom.webp", takes, "zoom.webp"),
        ("card.avif", other, "card.avif"),
    ):
        answer = await http.get(url.replace("master.png", asked), headers=headers)
        assert answer.text == got
        assert answer.headers["content-type"] == f"image/{got.rpartition('.')[2]}"
        assert answer.headers.get("vary") == ("Accept" if asked.endswith("webp") else None)


@pytest.mark.parametrize(
    "path",
    [
        f"/images/{public_id('never stored')}/master.png",
        f"/images/{NAME}/zoom.png",
        f"/images/{NAME}/master.svg",
        f"/images/{NAME}/master.png.gz",
        f"/images/{NAME}/secret.txt",
        f"/images/{NAME}/..%2f..%2f..%2fsecret.png",
        f"/images/{NAME}/%2e%2e/master.png",
        f"/images/{NAME.upper()}/master.png",
        f"/images/{NAME}/",
        f"/images/{NAME}",
        "/images/..%2f./secret/master.png",
        "/images/.%2f../secret/master.png",
        "/images/.work/left/master.png",
        "/images/%00/%00/%00",
        "/images/",
    ],
)
async def test_nothing_else_is_there(http: httpx.AsyncClient, url: str, tmp_path: Path, path: str) -> None:
    held = tmp_path / "held"
    for secret in (
        held / NAME / "secret.txt",
        held / ".work" / "left" / "master.png",
        tmp_path / "secret.png",
        tmp_path / "secret" / "master.png",
    ):
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("secret")
    parts = urlsplit(url)
    answer = await http.get(f"{parts.scheme}://{parts.netloc}{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert "immutable" not in answer.headers.get("cache-control", "")


async def test_a_directory_is_no_image(http: httpx.AsyncClient, url: str, tmp_path: Path) -> None:
    (tmp_path / "held" / NAME / "card.png").mkdir()
    answer = await http.get(url.replace("master", "card"))
    assert answer.status_code in (403, 404)
    assert answer.headers["cache-control"] == "no-store"


async def test_nobody_else_writes(http: httpx.AsyncClient, url: str) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert (await http.request(method, url)).status_code == 405


async def test_the_workers_own_server_serves_it_beside_health(
    http: httpx.AsyncClient, host: LocalHost, url: str, tmp_path: Path
) -> None:
    server = HealthServer(
        host="127.0.0.1",
        port=0,
        metrics=Metrics(),
        readiness=lambda: Readiness([], {}),
        clock=ManualClock(),
        routes=image_routes(tmp_path / "held"),
    )
    await server.open()
    try:
        origin = f"http://127.0.0.1:{server.port}"
        assert (await http.get(f"{origin}{urlsplit(url).path}")).content == png("a boot master")
        assert (await http.get(f"{origin}/livez")).json() == {"live": True}
    finally:
        await server.close()
