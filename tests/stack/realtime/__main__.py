"""`python -m tests.stack.realtime`: runs until SIGTERM or SIGINT. Settings: see `settings.py`.

Prints one line of JSON, `{"ready": true, "host": ..., "port": ...}`, when it listens and hears the database.
Exit codes: 0 after a signal, 1 when the port is taken, 2 for a wrong setting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys

from tests.stack.realtime.server import Realtime
from tests.stack.realtime.settings import Settings, SettingsError


async def serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    realtime = Realtime(settings)
    port = await realtime.start()
    announcing = asyncio.create_task(announce(realtime, settings.host, port))
    await stopping.wait()
    announcing.cancel()
    await realtime.stop()


async def announce(realtime: Realtime, host: str, port: int) -> None:
    await realtime.broadcasts.connected.wait()
    print(json.dumps({"ready": True, "host": host, "port": port}), flush=True)


def main() -> int:
    logging.basicConfig(
        level=os.environ.get("REALTIME_LOG_LEVEL", "WARNING").upper(),
        format="%(asctime)s realtime %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        print(f"cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
