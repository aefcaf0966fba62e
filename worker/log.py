"""structlog set-up, the names of events, and redaction.

Events are named by constants (`JOB_SETTLED = "job.settled"`), so that tests and dashboards can rely on
them. Secrets are hidden twice: by type (`SecretStr`) and by shape, in every string that is logged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from pydantic import SecretBytes, SecretStr

# worker
WORKER_STARTED: Final = "worker.started"
WORKER_STOPPING: Final = "worker.stopping"
WORKER_STOPPED: Final = "worker.stopped"
WORKER_DIED: Final = "worker.died"
WORKER_DRAINED: Final = "worker.drained"
DRAIN_CUT: Final = "worker.drain_cut"
STOP_OVERDUE: Final = "worker.stop_overdue"
END_OVERDUE: Final = "worker.end_overdue"
# Supabase
UPSTREAM_LOST: Final = "upstream.lost"
UPSTREAM_BACK: Final = "upstream.back"
PART_FAILING: Final = "part.failing"
PART_WORKING: Final = "part.working"
REALTIME_LIVE: Final = "realtime.live"
REALTIME_LOST: Final = "realtime.lost"
REALTIME_OFF: Final = "realtime.off"
# outbox
DISPATCHED: Final = "outbox.dispatched"
AWAKE: Final = "outbox.awake"
ASLEEP: Final = "outbox.asleep"
# jobs
JOB_STARTED: Final = "job.started"
JOB_SETTLED: Final = "job.settled"
JOB_FAILED: Final = "job.failed"
JOB_LOST: Final = "job.lost"
JOB_RELEASED: Final = "job.released"
# health
HEALTH_LISTENING: Final = "health.listening"

LogFormat = Literal["console", "json"]
Logger = structlog.stdlib.BoundLogger

HIDDEN: Final = "[hidden]"
_SECRET_SHAPES: Final = re.compile(
    r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"  # JWT
    r"|sb_(?:secret|publishable)_[A-Za-z0-9_-]+"
    r"|wh(?:sec|sk)_[A-Za-z0-9+/=_-]+"  # webhook secrets, symmetric and Ed25519
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password of a URL
    r"|(?<=apikey=)[^&\s]+"
)
_SECRET_KEYS: Final = re.compile(r"secret|password|api_?key|token$|authorization|jwt", re.IGNORECASE)
# a lease's fencing token is a counter, and log readers want it
_HARMLESS_TYPES: Final = (int, float, bool, type(None))


def get_logger(name: str) -> Logger:
    """A logger that is configured only when it is first used, so importing configures nothing."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def redact(value: Any, *, key: str = "") -> Any:
    """`value` without secrets: `SecretStr`s, values under telling keys, and anything shaped like one."""
    if isinstance(value, _HARMLESS_TYPES):
        return value
    if isinstance(value, SecretStr | SecretBytes) or _SECRET_KEYS.search(key):
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_SHAPES.sub(HIDDEN, value)
    if isinstance(value, BaseException):
        return _SECRET_SHAPES.sub(HIDDEN, f"{type(value).__name__}: {value}")
    if isinstance(value, Mapping):
        return {k: redact(v, key=str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    return _SECRET_SHAPES.sub(HIDDEN, str(value))


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor; runs last before rendering, so nothing is added behind it."""
    return {
        key: value if key in ("exc_info", "_record", "_from_structlog") else redact(value, key=key)
        for key, value in event.items()
    }


def _processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]


def set_up_logging(
    *, log_format: LogFormat = "console", level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Configures structlog and the standard library's logging, so that both come out alike.

    Call once, from the CLI. Lines go to `stream`, by default stderr: stdout belongs to commands' results.
    """
    shared = _processors()
    out = stream or sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # these tell every attempt at ERROR, with tracebacks; our own supervisor says it once
    for chatty in ("realtime", "websockets", "httpx", "aiohttp.access", "postgrest"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
