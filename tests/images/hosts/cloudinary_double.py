"""A stand-in for Cloudinary on loopback: real HTTP, real signatures, and every fault on command.

It checks what it is sent with the SDK's own functions, keeps what is uploaded, and answers in the forms
of Cloudinary's reference. `CLOUDINARY_URL` of it: `double.url`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

import aiohttp
from aiohttp import web
from cloudinary.utils import api_sign_request

CLOUD, KEY, SECRET = "double", "123456789012345", "abcdefghijklmnopqrstuvwxyz1"
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_HOUR = 3600
_LARGEST = 100 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call, before or after it took effect.

    `status`: refused with it · `hang`: no answer at all · `redirect`: sent elsewhere · `reset`: the answer
    breaks off · `lost`: none comes · `drip`: it comes a byte at a time · `huge` · `garbage` · `forged`:
    signed with another secret · `renamed`: another public id · `altered`: other bytes are stored.
    """

    kind: Literal[
        "none",
        "status",
        "hang",
        "redirect",
        "reset",
        "lost",
        "drip",
        "huge",
        "garbage",
        "forged",
        "renamed",
        "altered",
    ]
    status: int = 500
    message: str = "General Error"
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = ""


@dataclass(slots=True)
class Stored:
    content: bytes
    version: int
    etag: str


class CloudinaryDouble:
    """`objects`: what it holds; `calls`: every request; `faults`: what happens to the next ones, in turn."""

    def __init__(self) -> None:
        self.port = 0
        self.objects: dict[str, Stored] = {}
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.invalidated: list[str] = []
        self.faults: list[Fault] = []
        self.unsent: list[tuple[str, dict[str, Any]]] = []
        self._cursors: dict[str, str] = {}
        self._stopped = asyncio.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        options = f"upload_prefix={self.origin}&secure=false&cname=127.0.0.1:{self.port}"
        return f"cloudinary://{KEY}:{SECRET}@{CLOUD}?{options}"

    def routes(self) -> list[web.RouteDef]:
        api = f"/v1_1/{CLOUD}"
        return [
            web.post(f"{api}/image/upload", self._upload),
            web.post(f"{api}/image/destroy", self._destroy),
            web.get(f"{api}/resources/image/upload", self._resources),
            web.get(f"{api}/ping", self._ping),
            web.get(f"/{CLOUD}/image/upload/{{transformation}}/v{{version}}/{{public_id:.+}}", self._deliver),
            web.get("/elsewhere", self._elsewhere),
            web.post("/elsewhere", self._elsewhere),
        ]

    def stop(self) -> None:
        self._stopped.set()

    async def notify(
        self, url: str, payload: Mapping[str, Any], *, secret: str = SECRET, at: datetime | None = None
    ) -> int:
        """Posts a notification as Cloudinary does; the status that it met."""
        body = json.dumps(payload).encode()
        timestamp = str(int((at or datetime.now(UTC)).timestamp()))
        signature = hashlib.sha1(body + timestamp.encode() + secret.encode()).hexdigest()
        headers = {
            "X-Cld-Timestamp": timestamp,
            "X-Cld-Signature": signature,
            "Content-Type": "application/json",
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            return answer.status

    async def send_notifications(self) -> list[int]:
        """Sends what uploads and deletions asked for, once each."""
        unsent, self.unsent = self.unsent, []
        return [await self.notify(url, payload) for url, payload in unsent]

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        fields, content = await _form(request)
        self.calls.append(("upload", fields))
        fault = self._next_fault()
        if (answered := await self._before(request, fault)) is not None:
            return answered
        if (refused := _signature_problem(fields)) is not None:
            return refused
        if not content.startswith(_MAGIC):
            return _error(400, "Invalid image file")
        name = fields.get("public_id") or secrets.token_hex(10)
        existing = name in self.objects
        if not existing or fields.get("overwrite", "true") == "true":
            kept = content[:-1] if fault.kind == "altered" else content
            self.objects[name] = Stored(kept, int(time.time()), hashlib.md5(kept).hexdigest())
        answer = self._described(name, fields, existing=existing)
        if fault.kind == "forged":
            answer["signature"] = api_sign_request(
                {"public_id": name, "version": answer["version"]}, "another"
            )
        return await self._after(request, answer, fault)

    async def _destroy(self, request: web.Request) -> web.StreamResponse:
        fields, _ = await _form(request)
        self.calls.append(("destroy", fields))
        fault = self._next_fault()
        if (answered := await self._before(request, fault)) is not None:
            return answered
        if (refused := _signature_problem(fields)) is not None:
            return refused
        name = fields.get("public_id", "")
        if fields.get("invalidate") == "true":
            self.invalidated.append(name)
        gone = self.objects.pop(name, None)
        return await self._after(request, {"result": "not found" if gone is None else "ok"}, fault)

    async def _resources(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(("resources", dict(request.query)))
        fault = self._next_fault()
        if (answered := await self._before(request, fault)) is not None:
            return answered
        if (refused := _authorization_problem(request)) is not None:
            return refused
        limit = int(request.query.get("max_results", "10"))
        if not 1 <= limit <= 500:
            return _error(400, "max_results must be between 1 and 500")
        begin = ""
        if (cursor := request.query.get("next_cursor")) is not None:
            if cursor not in self._cursors:
                return _error(400, "Invalid value for parameter next_cursor")
            begin = self._cursors[cursor]
        prefix = request.query.get("prefix", "")
        names = sorted(each for each in self.objects if each.startswith(prefix) and each > begin)
        answer: dict[str, Any] = {
            "resources": [{"public_id": each, "type": "upload"} for each in names[:limit]]
        }
        if len(names) > limit:
            cursor = secrets.token_hex(32)
            self._cursors[cursor] = names[limit - 1]
            answer["next_cursor"] = cursor
        return await self._after(request, answer, fault)

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(("ping", {}))
        fault = self._next_fault()
        if (answered := await self._before(request, fault)) is not None:
            return answered
        return _authorization_problem(request) or await self._after(request, {"status": "ok"}, fault)

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        stored = self.objects.get(request.match_info["public_id"])
        if stored is None:
            return web.Response(status=404, headers={"X-Cld-Error": "Resource not found"})
        return web.Response(body=stored.content, content_type="image/png")

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(("elsewhere", {name.lower(): value for name, value in request.headers.items()}))
        return web.json_response({"status": "ok", "resources": []})

    def _described(self, name: str, fields: Mapping[str, str], *, existing: bool) -> dict[str, Any]:
        stored = self.objects[name]
        # signature version 1: https://cloudinary.com/documentation/response_signatures
        signature = api_sign_request(
            {"public_id": name, "version": stored.version}, SECRET, signature_version=1
        )
        answer = {
            "asset_id": secrets.token_hex(16),
            "public_id": name,
            "version": stored.version,
            "signature": signature,
            "format": "png",
            "resource_type": "image",
            "type": "upload",
            "bytes": len(stored.content),
            "etag": stored.etag,
            "placeholder": False,
            **({"existing": True} if existing else {}),
        }
        if (url := fields.get("notification_url")) and not existing:
            eager = [{"transformation": each, "secure_url": "x"} for each in fields["eager"].split("|")]
            told = {"notification_type": "eager", "public_id": name, "eager": eager}
            self.unsent += [(url, {**answer, "notification_type": "upload"}), (url, told)]
        return answer

    def _next_fault(self) -> Fault:
        return self.faults.pop(0) if self.faults else Fault("none")

    async def _before(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        match fault.kind:
            case "status":
                return _error(fault.status, fault.message, fault.headers)
            case "redirect":
                return web.Response(status=302, headers={"Location": fault.location})
            case "hang":
                await self._stopped.wait()
        return None

    async def _after(self, request: web.Request, answer: dict[str, Any], fault: Fault) -> web.StreamResponse:
        if fault.kind == "renamed":
            name = f"elsewhere/{answer['public_id']}"
            signature = api_sign_request(
                {"public_id": name, "version": answer["version"]}, SECRET, signature_version=1
            )
            answer |= {"public_id": name, "signature": signature}
        if fault.kind == "garbage":
            return web.Response(text="<html>Bad gateway, politely</html>", content_type="text/html")
        if fault.kind in ("reset", "lost", "drip", "huge"):
            return await self._broken(request, json.dumps(answer).encode(), fault)
        return web.json_response(answer)

    async def _broken(self, request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if fault.kind == "lost":
            transport.abort()
            return response
        response.content_length = 1 << 30 if fault.kind == "huge" else len(body)
        await response.prepare(request)
        if fault.kind == "reset":
            await response.write(body[: len(body) // 2])
            transport.abort()
        elif fault.kind == "huge":
            while not transport.is_closing():
                await response.write(b" " * (1 << 20))
        for at in range(len(body)) if fault.kind == "drip" else ():
            if transport.is_closing():
                break
            await response.write(body[at : at + 1])
            # the double's own pace, no test waits for it
            await asyncio.sleep(0.005)
        return response


@asynccontextmanager
async def cloudinary_double(double: CloudinaryDouble | None = None) -> AsyncIterator[CloudinaryDouble]:
    double = double or CloudinaryDouble()
    app = web.Application(client_max_size=_LARGEST)
    app.add_routes(double.routes())
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.port = runner.addresses[0][1]
    try:
        yield double
    finally:
        double.stop()
        await runner.cleanup()


def rate_limited(*, resets_in: timedelta) -> Fault:
    """As the Admin API says that the hour's calls are used up."""
    reset = format_datetime(datetime.now(UTC) + resets_in, usegmt=True)
    return Fault(
        "status",
        420,
        "Rate Limit Exceeded",
        {"X-FeatureRateLimit-Remaining": "0", "X-FeatureRateLimit-Reset": reset},
    )


async def _form(request: web.Request) -> tuple[dict[str, str], bytes]:
    fields: dict[str, str] = {}
    content = b""
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            with value.file:
                content = value.file.read()
        elif isinstance(value, str):
            fields[name] = value
    return fields, content


def _signature_problem(fields: Mapping[str, str]) -> web.Response | None:
    if fields.get("api_key") != KEY:
        return _error(401, "Unknown API key")
    signed = {name: value for name, value in fields.items() if name not in ("api_key", "signature")}
    expected = api_sign_request(signed, SECRET)
    if fields.get("signature") != expected:
        return _error(401, f"Invalid Signature {fields.get('signature')}. String to sign - '…'")
    if abs(int(fields["timestamp"]) - time.time()) > _HOUR:
        return _error(
            400, f"Stale request - reported time is {fields['timestamp']} which is more than 1 hour ago"
        )
    return None


def _authorization_problem(request: web.Request) -> web.Response | None:
    given = request.headers.get("Authorization", "")
    if given != aiohttp.encode_basic_auth(KEY, SECRET):
        return _error(401, "unknown api_key")
    return None


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message}}
    return web.json_response(body, status=status, headers={"X-Cld-Error": message, **(headers or {})})
