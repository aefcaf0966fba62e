"""`make listen`: prints every webhook that arrives on a port of this machine, and answers 204.

With SECRET=whsec_… each signature is checked, and a wrong one is answered 400.
"""

from __future__ import annotations

import argparse
import json
import sys

from aiohttp import web
from rich.console import Console
from rich.json import JSON
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PORT = 8787
BODY_LIMIT = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo.listen", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--secret", help="whsec_…, as create_webhook_endpoint showed it")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        app = listener(console, Webhook(options.secret) if options.secret else None)
    except (ValueError, RuntimeError) as error:
        console.print(f"listen: SECRET is not a webhook secret: {error}")
        return 2
    console.print(f"Listening on http://127.0.0.1:{options.port}/ until Ctrl-C.")
    try:
        web.run_app(app, host="127.0.0.1", port=options.port, print=None)
    except OSError as error:
        console.print(
            f"listen: cannot listen on port {options.port}: {error.strerror}; choose another by PORT="
        )
        return 1
    return 0


def listener(console: Console, webhook: Webhook | None) -> web.Application:
    """An application that takes any POST as a webhook, and says what it thinks of the signature."""

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        signature, status = _checked(webhook, body, dict(request.headers))
        console.rule(f"{request.headers.get('webhook-id', 'no webhook-id')} · {signature}", align="left")
        try:
            console.print(JSON(body.decode()))
        except (UnicodeDecodeError, json.JSONDecodeError):
            console.print(f"{len(body)} bytes that are no JSON")
        return web.Response(status=status)

    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_post("/{path:.*}", take)
    return app


def _checked(webhook: Webhook | None, body: bytes, headers: dict[str, str]) -> tuple[str, int]:
    if webhook is None:
        return "signature not checked (SECRET=whsec_… checks it)", 204
    try:
        webhook.verify(body, {name.lower(): value for name, value in headers.items()})
    except WebhookVerificationError as error:
        return f"WRONG SIGNATURE: {error}", 400
    return "signature verified", 204


if __name__ == "__main__":
    sys.exit(main())
